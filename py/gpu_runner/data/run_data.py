"""The rows of a run: what it trains on, replay mixed in, and what it is scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu_runner.config.schema import DEMO, INSTRUCT, TrainConfig
from gpu_runner.config.source import parse
from gpu_runner.data import cache, combine
from gpu_runner.data import dataset as data
from gpu_runner.data.chat.template import check_program
from gpu_runner.data.dataset import GENERAL, TASK, RowSet
from gpu_runner.data.encode import NO_TEMPLATE, Encoder
from gpu_runner.data.examples import known
from gpu_runner.data.files import Watch, unwatched
from gpu_runner.data.sources import Row, read_rows
from gpu_runner.errors import DataError, UsageError
from gpu_runner.text import printable


def encoder(config: TrainConfig, tokenizer: Any) -> Encoder:
    """What turns rows into tokens; a chat template of one's own becomes the tokenizer's.

    So it is saved with the trained model. Raises `UsageError` for one that cannot be read.
    """
    template = config.chat_template
    if template not in (None, NO_TEMPLATE):
        tokenizer.chat_template = template = _template(str(template))
    return Encoder(
        tokenizer,
        config.seq_len,
        template=template,
        train_on=config.train_on,
        today=config.today,
    )


def _template(path: str) -> str:
    try:
        source = Path(path).expanduser().read_text("utf-8")
        check_program(source)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"--chat-template {path}: it cannot be read ({reason}): give a .jinja file, or"
            f" {NO_TEMPLATE} for no template."
        ) from None
    except ValueError as error:
        raise UsageError(f"--chat-template {path} is no chat template ({error}).") from None
    return source


def read(
    config: TrainConfig, encoder: Encoder, watch: Watch = unwatched
) -> tuple[RowSet, dict[str, RowSet]]:
    """The training rows, and the held-out ones by suite. Raises `DataError`, `UsageError`.

    Where a source is large, all that is trained on lies on disk; of what is scored, each large one.
    """
    _, held_out = _task_files(config)
    _check_apart(config)
    sources = _sources(config)
    replay = [] if config.replay is None else [config.replay]
    large = any(map(cache.is_large, (*sources, *replay)))
    if large:
        found = [_encoded(source, config, encoder, watch) for source in sources]
        most = config.eval_rows if held_out is None else 0
        train, task, made_of = combine.task(found, config.seed, most)
    else:
        train, task, made_of = _from_memory(sources, held_out, config, encoder, watch)
    named = dict(zip(_names(config), made_of, strict=True))
    if replay:
        earlier = whole("replay", replay[0], config, encoder, watch, large=large)
        train = combine.with_replay(train, earlier, config.replay_share, config.seed)
        named["--replay " + _short(replay[0])] = (earlier.sha256, 1.0)
    if task is None:
        task = _read_and_scored("held-out", str(held_out), config, encoder, watch)
    train = replace(train, made_of=named)
    suites = {TASK: task}
    for skill, path in _general_files(config):
        name = f"general {skill}"
        suites[f"{GENERAL}/{skill}"] = _read_and_scored(name, path, config, encoder, watch)
    return train, {name: _shared(rows, train) for name, rows in suites.items()}


def _from_memory(
    sources: list[str],
    held_out: str | None,
    config: TrainConfig,
    encoder: Encoder,
    watch: Watch,
) -> tuple[RowSet, RowSet | None, list[tuple[str, float]]]:
    bad = _list(config)
    rows = [(n, row) for n, one in enumerate(sources) for row in read_rows(one, bad)]
    made_of = [
        (_digest(row for n, (_, row) in rows if n == number), parse(source).weight)
        for number, source in enumerate(sources)
    ]
    held: list[Any] = []
    if held_out is None:
        if len(rows) == 1:  # what is wrong with it comes before that it is alone
            data.load_set("training", [row for _, row in rows], encoder, bad)
        rows, held = data.hold_out(_readable(rows, encoder, bad), config.seed)
    train = _trained(sources, rows, config, encoder, bad, watch)
    if held_out is not None:
        return train, None, made_of
    scored = [row for _, row in held[: config.eval_rows]]
    task = data.load_set("held-out", scored, encoder, _list(config))
    return train, task, made_of


def _encoded(source: str, config: TrainConfig, encoder: Encoder, watch: Watch) -> combine.Encoded:
    return combine.encoded(source, encoder, watch, skip=config.skip_bad_rows)


def whole(
    name: str,
    source: str,
    config: TrainConfig,
    encoder: Encoder,
    watch: Watch = unwatched,
    *,
    large: bool,
) -> RowSet:
    """Every row of a source, on disk if it is `large`. Raises `DataError`."""
    if large:
        found = _encoded(source, config, encoder, watch)
        return combine.every(name, found.arrays, found.place, found.bad)
    bad = _list(config)
    return data.load_set(name, read_rows(source, bad), encoder, bad, watch)


def _names(config: TrainConfig) -> list[str]:
    """What each source of the task is called where it is told of: its option and its file."""
    named = [f"--data {_short(config.data)}", *(f"--mix {_short(one)}" for one in config.mix or ())]
    before = [named[:place].count(name) for place, name in enumerate(named)]
    return [f"{name} ({n + 1})" if n else name for name, n in zip(named, before, strict=True)]


def _short(source: str) -> str:
    return printable(Path(parse(source).place).name)[:100]


def _digest(rows: Iterable[Row]) -> str:
    """SHA-256 of rows as they are written."""
    found = hashlib.sha256()
    for row in rows:
        found.update(repr(row).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def all_rows(config: TrainConfig, encoder: Encoder, watch: Watch = unwatched) -> RowSet:
    """Every row of the training data, none held out; bad ones are told and left out.

    Raises `DataError` where nothing can be trained.
    """
    source = _task_files(config)[0]
    if cache.is_large(source):
        found = combine.encoded(source, encoder, watch, skip=True)
        return combine.every("data", found.arrays, found.place, found.bad)
    bad: list[str] = []
    return data.load_set("data", read_rows(source, bad), encoder, bad, watch)


def _trained(
    sources: list[str],
    rows: list[tuple[int, Any]],
    config: TrainConfig,
    encoder: Encoder,
    bad: list[str] | None,
    watch: Watch,
) -> RowSet:
    """The training rows of all sources, each as often as its weight says."""
    weights = [parse(source).weight for source in sources]
    if weights == [1.0]:
        return data.load_set("training", [row for _, row in rows], encoder, bad, watch)
    parts = []
    for number, (source, weight) in enumerate(zip(sources, weights, strict=True)):
        own = [row for n, row in rows if n == number]
        if not own:
            raise DataError(f"{source}: all of its rows are held out: give --eval-data.")
        told = bad if number == 0 or bad is None else []
        name = f"training {Path(parse(source).place).name}"
        parts.append((data.load_set(name, own, encoder, told, watch), weight))
    return combine.mixed(parts, config.seed)


def _sources(config: TrainConfig) -> list[str]:
    """Everything the task is trained on."""
    return [_task_files(config)[0], *(config.mix or ())]


def _readable(
    rows: list[tuple[int, Any]], encoder: Encoder, bad: list[str] | None
) -> list[tuple[int, Any]]:
    """Without bad rows, where those are left out: what is held out is drawn of the good ones."""
    if bad is None:
        return rows
    good = data.readable([row for _, row in rows], encoder, bad)
    kept = {id(row) for _, row in good}
    return [(number, row) for number, row in rows if id(row[1]) in kept]


def _list(config: TrainConfig) -> list[str] | None:
    """Where bad rows are told, if they are not to stop the run."""
    return [] if config.skip_bad_rows else None


def _read_and_scored(
    name: str, path: str, config: TrainConfig, encoder: Encoder, watch: Watch
) -> RowSet:
    """The first `eval_rows` rows of a source; of a large one what follows them is not read."""
    most, bad = config.eval_rows, _list(config)
    large = cache.is_large(path)
    if large and most > cache.FEW:
        skip = config.skip_bad_rows
        return combine.scored(name, path, encoder, watch, skip=skip, most=most)
    rows = read_rows(path, bad, most if large else None)
    return data.load_set(name, rows[:most], encoder, bad)


def _shared(scored: RowSet, train: RowSet) -> RowSet:
    """The scored rows, with the count of those that are trained on as well."""
    return replace(scored, trained_rows=known(train.examples, scored.examples))


def _check_apart(config: TrainConfig) -> None:
    """Refuse to score the rows of a file that is trained on. Raises `UsageError`."""
    trained = {_place(source): option for option, source in _trained_files(config)}
    for option, source in _scored_files(config):
        other = trained.get(_place(source))
        if other is not None:
            shows = "is learned" if option.startswith("--eval-data") else "is forgotten"
            raise UsageError(
                f"{option} is the file of {other}: rows that are trained on cannot show what"
                f" {shows}. Give other rows of the same kind{_or_none(option, other)}."
            )


def _or_none(option: str, other: str) -> str:
    alone = option.startswith("--eval-data") and other.startswith("--data")
    return ", or leave --eval-data out: some rows are then held out" if alone else ""


def _place(source: str) -> object:
    """Which file it is, however its path is written; a name that is none stands for itself."""
    try:
        found = Path(parse(source).place).expanduser().stat()
    except (OSError, RuntimeError):
        return source
    return found.st_dev, found.st_ino


def _trained_files(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """(option, file) of everything that is trained on."""
    yield f"--data {config.data}", _task_files(config)[0]
    for more in config.mix or ():
        yield f"--mix {more}", more
    if config.replay is not None:
        yield f"--replay {config.replay}", config.replay


def _scored_files(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """(option, file) of everything that is scored and never trained on."""
    held = _task_files(config)[1]
    if held is not None:
        yield f"--eval-data {config.eval_data or held}", held
    for skill, path in _general_files(config):
        yield f"--general {skill}={path}", path


def _task_files(config: TrainConfig) -> tuple[str, str | None]:
    from gpu_runner import demo

    if config.data == DEMO:
        return str(demo.task_train()), config.eval_data or str(demo.task_eval())
    if config.data == INSTRUCT:
        return str(demo.instruct_train()), config.eval_data or str(demo.instruct_eval())
    return config.data, config.eval_data


def _general_files(config: TrainConfig) -> tuple[tuple[str, str], ...]:
    from gpu_runner import demo

    if config.general is not None:
        return config.general
    if config.model == DEMO:
        return tuple((skill, str(path)) for skill, path in demo.general_eval().items())
    return (("english", str(demo.general_english())),)

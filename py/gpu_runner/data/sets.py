"""The rows of a run: what it trains on, replay mixed in, and what it is scored on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu_runner.config.schema import DEMO, INSTRUCT, TrainConfig
from gpu_runner.config.source import parse
from gpu_runner.data import rows as data
from gpu_runner.data.chat.template import check_program
from gpu_runner.data.encode import NO_TEMPLATE, Encoder, Example
from gpu_runner.data.lines import Row, read_rows
from gpu_runner.data.rows import GENERAL, TASK, RowSet
from gpu_runner.data.store import encoding as store
from gpu_runner.data.store import selected
from gpu_runner.data.store.arrays import StoredExamples
from gpu_runner.errors import DataError, UsageError
from unfrozen.training.order import epoch_order


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


def read(config: TrainConfig, encoder: Encoder) -> tuple[RowSet, dict[str, RowSet]]:
    """The training rows, and the held-out ones by suite. Raises `DataError`, `UsageError`."""
    bad = _list(config)
    _, eval_source = _task_files(config)
    _check_apart(config)
    sources = _sources(config)
    if _is_stored(config, sources):
        train, task = _from_disk(sources[0], eval_source, config, encoder, bad)
        return _with_general(train, task, config, encoder)
    rows = [(n, row) for n, one in enumerate(sources) for row in read_rows(one, bad)]
    held: list[Any] = []
    if eval_source is None:
        if len(rows) == 1:  # what is wrong with it comes before that it is alone
            data.load_set("training", [row for _, row in rows], encoder, bad)
        rows, held = data.hold_out(_readable(rows, encoder, bad), config.seed)
    train = _trained(sources, rows, config, encoder, bad)
    if eval_source is None:
        task = _scored("held-out", [row for _, row in held], config, encoder, _list(config))
    else:
        task = _read_and_scored("held-out", eval_source, config, encoder)
    return _with_general(_replayed(train, config, encoder), task, config, encoder)


def _with_general(
    train: RowSet, task: RowSet, config: TrainConfig, encoder: Encoder
) -> tuple[RowSet, dict[str, RowSet]]:
    suites = {TASK: task}
    for skill, path in _general_files(config):
        suites[f"{GENERAL}/{skill}"] = _read_and_scored(f"general {skill}", path, config, encoder)
    return train, {name: _shared(rows, train) for name, rows in suites.items()}


def _is_stored(config: TrainConfig, sources: list[str]) -> bool:
    """Whether the rows are kept encoded on disk: those of one large file, as they are there."""
    alone = len(sources) == 1 and parse(sources[0]).weight == 1 and config.replay is None
    return alone and store.is_large(sources[0])


def _from_disk(
    source: str,
    eval_source: str | None,
    config: TrainConfig,
    encoder: Encoder,
    bad: list[str] | None,
) -> tuple[RowSet, RowSet]:
    found = store.stored(source, encoder, bad)
    place = parse(source).place
    if eval_source is None:
        return selected.split(found, place, config.seed, bad, config.eval_rows)
    train = selected.every("training", found, place, bad)
    return train, _read_and_scored("held-out", eval_source, config, encoder)


def all_rows(config: TrainConfig, encoder: Encoder) -> RowSet:
    """Every row of the training data, none held out; bad ones are told and left out.

    Raises `DataError` where nothing can be trained.
    """
    bad: list[str] = []
    source = _task_files(config)[0]
    if store.is_large(source):
        return selected.every("data", store.stored(source, encoder, bad), parse(source).place, bad)
    return data.load_set("data", read_rows(source, bad), encoder, bad)


def _trained(
    sources: list[str],
    rows: list[tuple[int, Any]],
    config: TrainConfig,
    encoder: Encoder,
    bad: list[str] | None,
) -> RowSet:
    """The training rows of all sources, each as often as its weight says."""
    weights = [parse(source).weight for source in sources]
    if weights == [1.0]:
        return data.load_set("training", [row for _, row in rows], encoder, bad)
    parts = []
    for number, (source, weight) in enumerate(zip(sources, weights, strict=True)):
        own = [row for n, row in rows if n == number]
        if not own:
            raise DataError(f"{source}: all of its rows are held out: give --eval-data.")
        told = bad if number == 0 or bad is None else []
        name = f"training {Path(parse(source).place).name}"
        parts.append((data.load_set(name, own, encoder, told), weight))
    return mixed(parts, config.seed)


def mixed(parts: Sequence[tuple[RowSet, float]], seed: int) -> RowSet:
    """Sets of rows as one: of each all rows as often as its weight says, of a fraction some.

    Which ones follows from `seed`.
    """
    chosen: list[tuple[Row, Example, str]] = []
    for number, (part, weight) in enumerate(parts):
        pairs = list(zip(part.rows, part.examples, part.places, strict=True))
        some = epoch_order(len(pairs), seed, -2 - number)[: round(weight % 1 * len(pairs))]
        chosen += pairs * int(weight) + [pairs[index] for index in sorted(some)]
    if not chosen:
        raise DataError("the weights leave no row to train on: give larger ones.")
    examples = tuple(example for _, example, _ in chosen)
    return RowSet(
        name="training",
        rows=tuple(row for row, _, _ in chosen),
        places=tuple(place for _, _, place in chosen),
        examples=examples,
        rows_read=sum(part.rows_read for part, _ in parts),
        cut_rows=0,
        cut_tokens=0,
        untrainable_rows=0,
        sha256=data.fingerprint(examples),
        template_rows=sum(part.template_rows for part, _ in parts),
        parts=tuple(parts),
    )


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


def _read_and_scored(name: str, path: str, config: TrainConfig, encoder: Encoder) -> RowSet:
    bad = _list(config)
    return _scored(name, read_rows(path, bad), config, encoder, bad)


def _scored(
    name: str,
    sources: list[Any],
    config: TrainConfig,
    encoder: Encoder,
    bad: list[str] | None,
) -> RowSet:
    return data.load_set(name, sources[: config.eval_rows], encoder, bad)


def _replayed(train: RowSet, config: TrainConfig, encoder: Encoder) -> RowSet:
    if config.replay is None:
        return train
    bad = _list(config)
    rows = read_rows(config.replay, bad)
    replayed = data.load_set("replay", rows, encoder, bad)
    return data.with_replay(train, replayed, config.replay_share, config.seed)


def _shared(scored: RowSet, train: RowSet) -> RowSet:
    """The scored rows, with the count of those that are trained on as well."""
    if isinstance(train.examples, StoredExamples):
        return replace(scored, trained_rows=sum(train.examples.known(scored.examples)))
    trained = {example.ids for example in train.examples}
    return replace(scored, trained_rows=sum(one.ids in trained for one in scored.examples))


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

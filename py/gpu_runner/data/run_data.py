"""The data sets of a run: what it trains on, replay mixed in, and what it is scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_runner import demo
from gpu_runner.config.schema import DEMO, INSTRUCT, TrainConfig
from gpu_runner.config.source import parse
from gpu_runner.data import cache, combine
from gpu_runner.data import dataset as data
from gpu_runner.data.chat.template import check_program
from gpu_runner.data.dataset import GENERAL, TASK, EncodedDataset
from gpu_runner.data.encode import NO_TEMPLATE, Encoder
from gpu_runner.data.files import Watch, unwatched
from gpu_runner.data.sources import Row, read_rows
from gpu_runner.errors import DataError, UsageError
from gpu_runner.text import printable

Named = tuple[str, str]
"""An option as it was typed, and the file or data set that it names."""


def make_encoder(config: TrainConfig, tokenizer: Any) -> Encoder:
    """Return what encodes the examples of a run.

    A chat template that the run names becomes the tokenizer's, so it is saved with the trained
    model. Raises `UsageError` for a template that cannot be read.
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


@dataclass(frozen=True, slots=True)
class _Sources:
    """Everything that a run reads, by the option that names it."""

    trained: list[Named]
    """--data, then each --mix."""
    replay: list[Named]
    """--replay, if it is given."""
    held_out: list[Named]
    """--eval-data, if it is given or comes with the demo."""
    general: dict[str, Named]
    """Each --general, by skill."""


def load_datasets(
    config: TrainConfig, encoder: Encoder, watch: Watch = unwatched
) -> tuple[EncodedDataset, dict[str, EncodedDataset]]:
    """Return the training set, and the held-out sets by suite. Raises `DataError`, `UsageError`.

    If any source is large, everything that is trained on lies on disk; of the held-out sets, each
    large one does.
    """
    named = _sources(config)
    _check_apart([*named.trained, *named.replay], [*named.held_out, *named.general.values()])
    sources = [source for _, source in named.trained]
    loader = _Loader(encoder, watch, config.skip_bad_rows, config.eval_rows)
    large = any(cache.is_large(source) for _, source in (*named.trained, *named.replay))
    held_out_count = 0 if named.held_out else config.eval_rows
    if large:
        stored = [loader.encoded(source) for source in sources]
        train, task, made_of = combine.split_task(stored, config.seed, held_out_count)
    else:
        train, task, made_of = _from_memory(sources, held_out_count, config.seed, loader)
    fingerprints = dict(zip(_labels(config), made_of, strict=True))
    for _, source in named.replay:
        replay = loader.load_all("replay", source, large=large)
        train = combine.add_replay(train, replay, config.replay_share, config.seed)
        fingerprints[f"--replay {_short(source)}"] = (replay.sha256, 1.0)
    train = replace(train, made_of=fingerprints)
    suites = {} if task is None else {TASK: task}
    for _, source in named.held_out:
        suites[TASK] = loader.scored("held-out", source)
    for skill, (_, source) in named.general.items():
        suites[f"{GENERAL}/{skill}"] = loader.scored(f"general {skill}", source)
    return train, {
        name: replace(scored, trained_rows=scored.examples.count_in(train.examples))
        for name, scored in suites.items()
    }


def _sources(config: TrainConfig) -> _Sources:
    """Return what a configuration names, with the files of the demo where it names that."""
    data, held_out, general = config.data, config.eval_data, config.general
    if config.data == DEMO:
        data, held_out = str(demo.task_train()), held_out or str(demo.task_eval())
    if config.data == INSTRUCT:
        data, held_out = str(demo.instruct_train()), held_out or str(demo.instruct_eval())
    if general is None and config.model == DEMO:
        general = tuple((skill, str(path)) for skill, path in demo.general_eval().items())
    if general is None:
        general = (("english", str(demo.general_english())),)
    return _Sources(
        trained=[
            (f"--data {config.data}", data),
            *((f"--mix {source}", source) for source in config.mix or ()),
        ],
        replay=[] if config.replay is None else [(f"--replay {config.replay}", config.replay)],
        held_out=[] if held_out is None else [(f"--eval-data {held_out}", held_out)],
        general={skill: (f"--general {skill}={path}", path) for skill, path in general},
    )


def _from_memory(
    sources: Sequence[str], held_out_count: int, seed: int, loader: _Loader
) -> tuple[EncodedDataset, EncodedDataset | None, list[tuple[str, float]]]:
    """Return what `combine.split_task` returns, of sources that are small enough for memory."""
    encoder, bad = loader.encoder, loader.new_bad()
    rows = [(n, row) for n, one in enumerate(sources) for row in read_rows(one, bad)]
    made_of = [
        (_digest(row for n, (_, row) in rows if n == number), parse(source).weight)
        for number, source in enumerate(sources)
    ]
    if not held_out_count:
        return _trained(sources, rows, seed, loader, bad), None, made_of
    if len(rows) == 1:  # what is wrong with the only row is reported before that it is alone
        data.encode_dataset("training", [row for _, row in rows], encoder, bad)
    rows, held = data.hold_out(_readable(rows, encoder, bad), seed)
    train = _trained(sources, rows, seed, loader, bad)
    scored = [row for _, row in held[:held_out_count]]
    return train, data.encode_dataset("held-out", scored, encoder, loader.new_bad()), made_of


def _trained(
    sources: Sequence[str],
    rows: list[tuple[int, Any]],
    seed: int,
    loader: _Loader,
    bad: list[str] | None,
) -> EncodedDataset:
    """Return the training examples of all sources, each as often as its weight says."""
    weights = [parse(source).weight for source in sources]
    if weights == [1.0]:
        every = [row for _, row in rows]
        return data.encode_dataset("training", every, loader.encoder, bad, loader.watch)
    parts = []
    for number, (source, weight) in enumerate(zip(sources, weights, strict=True)):
        own = [row for n, row in rows if n == number]
        if not own:
            raise DataError(f"{source}: all of its rows are held out: give --eval-data.")
        refused = bad if number == 0 or bad is None else []
        name = f"training {Path(parse(source).place).name}"
        part = data.encode_dataset(name, own, loader.encoder, refused, loader.watch)
        parts.append((part, weight))
    return combine.mix(parts, seed)


def _readable(
    rows: list[tuple[int, Any]], encoder: Encoder, bad: list[str] | None
) -> list[tuple[int, Any]]:
    """Return the rows that can be encoded if bad ones are left out: only they are held out."""
    if bad is None:
        return rows
    good = {id(row) for _, row in data.without_bad_rows([row for _, row in rows], encoder, bad)}
    return [(number, row) for number, row in rows if id(row[1]) in good]


@dataclass(frozen=True, slots=True)
class _Loader:
    """Reads sources with what a run has settled: bad rows stop it, or are left out (`skip_bad`)."""

    encoder: Encoder
    watch: Watch
    skip_bad: bool
    eval_rows: int = 0

    def new_bad(self) -> list[str] | None:
        """Return a list for the reasons why rows were left out, if bad ones are left out."""
        return [] if self.skip_bad else None

    def encoded(self, source: str) -> combine.Encoded:
        """Return a source on disk."""
        return combine.encode_source(source, self.encoder, self.watch, skip=self.skip_bad)

    def load_all(self, name: str, source: str, *, large: bool) -> EncodedDataset:
        """Return every example of a source, on disk if it is `large`."""
        if large:
            found = self.encoded(source)
            return combine.all_examples(name, found.arrays, found.place, found.bad)
        bad = self.new_bad()
        return data.encode_dataset(name, read_rows(source, bad), self.encoder, bad, self.watch)

    def scored(self, name: str, source: str) -> EncodedDataset:
        """Return the first `eval_rows` examples; the rest of a large source is not read."""
        most, bad = self.eval_rows, self.new_bad()
        large = cache.is_large(source)
        if large and most > cache.FEW:
            skip = self.skip_bad
            return combine.encode_first(
                name, source, self.encoder, self.watch, skip=skip, most=most
            )
        rows = read_rows(source, bad, most if large else None)
        return data.encode_dataset(name, rows[:most], self.encoder, bad)


def load_whole(
    name: str, source: str, config: TrainConfig, encoder: Encoder, watch: Watch = unwatched
) -> EncodedDataset:
    """Return every example of a source, on disk if it is large. Raises `DataError`."""
    loader = _Loader(encoder, watch, config.skip_bad_rows)
    return loader.load_all(name, source, large=cache.is_large(source))


def load_all(config: TrainConfig, encoder: Encoder, watch: Watch = unwatched) -> EncodedDataset:
    """Return every example of --data, none held out; bad rows are reported and left out.

    Raises `DataError` where nothing can be trained.
    """
    source = _sources(config).trained[0][1]
    loader = _Loader(encoder, watch, skip_bad=True)
    return loader.load_all("data", source, large=cache.is_large(source))


def _labels(config: TrainConfig) -> list[str]:
    """Return a label for each source that is trained on: its option and its file, none twice."""
    found = [f"--data {_short(config.data)}", *(f"--mix {_short(one)}" for one in config.mix or ())]
    before = [found[:index].count(name) for index, name in enumerate(found)]
    return [f"{name} ({n + 1})" if n else name for name, n in zip(found, before, strict=True)]


def _short(source: str) -> str:
    return printable(Path(parse(source).place).name)[:100]


def _digest(rows: Iterable[Row]) -> str:
    """Return the SHA-256 of rows as they are written."""
    found = hashlib.sha256()
    for row in rows:
        found.update(repr(row).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _check_apart(trained: Sequence[Named], scored: Sequence[Named]) -> None:
    """Refuse to evaluate on a file that is trained on. Raises `UsageError`."""
    options = {_file_identity(source): option for option, source in trained}
    for option, source in scored:
        other = options.get(_file_identity(source))
        if other is not None:
            shows = "is learned" if option.startswith("--eval-data") else "is forgotten"
            raise UsageError(
                f"{option} is the file of {other}: rows that are trained on cannot show what"
                f" {shows}. Give other rows of the same kind{_or_none(option, other)}."
            )


def _or_none(option: str, other: str) -> str:
    alone = option.startswith("--eval-data") and other.startswith("--data")
    return ", or leave --eval-data out: some rows are then held out" if alone else ""


def _file_identity(source: str) -> object:
    """Return what identifies a file however its path is written; the name where there is none."""
    try:
        found = Path(parse(source).place).expanduser().stat()
    except (OSError, RuntimeError):
        return source
    return found.st_dev, found.st_ino

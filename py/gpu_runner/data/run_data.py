"""The data sets of a run: what it trains on, replay included, and what it is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_runner import demo
from gpu_runner.config.schema import DEMO, INSTRUCT, TrainConfig
from gpu_runner.config.source import parse
from gpu_runner.data import cache, combine
from gpu_runner.data.chat.template import check_program
from gpu_runner.data.dataset import (
    GENERAL,
    TASK,
    EncodedDataset,
    EncodedRows,
    EncodedSource,
    encode_rows,
    select_trainable,
)
from gpu_runner.data.encode import NO_TEMPLATE, Encoder
from gpu_runner.data.rows import ReportProgress, SourceReader, no_progress
from gpu_runner.errors import UsageError
from gpu_runner.text import printable
from unfrozen.plain import MOST_NAMED_BYTES, read_whole

Named = tuple[str, str]
"""An option as it was typed, and the file or data set that it names."""


def make_encoder(config: TrainConfig, tokenizer: Any) -> Encoder:
    """Return the encoder of a run.

    Its --chat-template becomes that of the tokenizer, which is saved with the trained model. Raises
    `UsageError` for a template that cannot be read.
    """
    template = config.chat_template
    if template not in (None, NO_TEMPLATE):
        tokenizer.chat_template = template = _read_template(str(template))
    return Encoder(
        tokenizer,
        config.seq_len,
        template=template,
        train_on=config.train_on,
        today=config.today,
    )


def _read_template(path: str) -> str:
    try:
        source = read_whole(Path(path).expanduser(), MOST_NAMED_BYTES, links=True).decode("utf-8")
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
    """Everything that a run reads, by option."""

    trained: list[Named]
    """--data, then each --mix."""
    replay: list[Named]
    """--replay, if it is given."""
    held_out: list[Named]
    """--eval-data, if it is given or comes with the demo."""
    general: dict[str, Named]
    """Each --general, by skill."""


def load_datasets(
    config: TrainConfig, encoder: Encoder, progress: ReportProgress = no_progress
) -> tuple[EncodedDataset, dict[str, EncodedDataset]]:
    """Return the training set, and the held-out sets by suite. Raises `DataError`, `UsageError`.

    If one of its sources is large, the training set is on disk; so is each large held-out set.
    """
    named = _find_sources(config)
    _check_apart([*named.trained, *named.replay], [*named.held_out, *named.general.values()])
    loader = _Loader(encoder, progress, config.skip_bad_rows, config.eval_rows)
    large = any(cache.is_large(source) for _, source in (*named.trained, *named.replay))
    sources = [loader.encode(source, large=large) for _, source in named.trained]
    held_out_count = 0 if named.held_out else config.eval_rows
    train, task = combine.split_task(sources, config.seed, held_out_count)
    made_of = [(one.sha256, parse(one.source).weight) for one in sources]
    fingerprints = dict(zip(_labels(config), made_of, strict=True))
    for _, source in named.replay:
        replay = select_trainable(loader.encode(source, large=large), "replay")
        train = combine.add_replay(train, replay, config.replay_share, config.seed)
        fingerprints[f"--replay {_short(str(config.replay))}"] = (replay.sha256, 1.0)
    train = replace(train, made_of=fingerprints)
    suites = {} if task is None else {TASK: task}
    for _, source in named.held_out:
        suites[TASK] = loader.load_scored("held-out", source)
    for skill, (_, source) in named.general.items():
        suites[f"{GENERAL}/{skill}"] = loader.load_scored(f"general {skill}", source)
    return train, {
        name: replace(scored, trained_rows=scored.examples.count_in(train.examples))
        for name, scored in suites.items()
    }


def _find_sources(config: TrainConfig) -> _Sources:
    """Return the sources that a run names, with the files of the demo where it names that."""
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
        replay=[(f"--replay {config.replay}", config.replay)] if config.replay else [],
        held_out=[] if held_out is None else [(f"--eval-data {held_out}", held_out)],
        general={skill: (f"--general {skill}={path}", path) for skill, path in general},
    )


@dataclass(frozen=True, slots=True)
class _Loader:
    """Reads and encodes sources with the settings of a run."""

    encoder: Encoder
    progress: ReportProgress
    skip_bad: bool
    eval_rows: int = 0

    def encode(self, source: str, *, large: bool) -> EncodedSource:
        """Return a source with all rows encoded, on disk if it is `large`, else in memory."""
        if not large:
            return self._encode_in_memory(source)
        return cache.load_encoded(
            source, self.encoder, skip_bad=self.skip_bad, progress=self.progress
        )

    def load_scored(self, name: str, source: str) -> EncodedDataset:
        """Return the first `eval_rows` rows of a source; of a large one no others are read."""
        most, large = self.eval_rows, cache.is_large(source)
        found: EncodedSource
        if large and most > cache.FEW:
            found = cache.load_encoded(
                source, self.encoder, skip_bad=self.skip_bad, most=most, progress=self.progress
            )
        else:
            found = self._encode_in_memory(source, most, read_on=not large)
        return select_trainable(found, name)

    def _encode_in_memory(
        self, source: str, most: int | None = None, *, read_on: bool = True
    ) -> EncodedRows:
        """Return the first `most` rows; with `read_on`, the others are read, too, and checked."""
        reader = SourceReader(source, skip_bad=self.skip_bad)
        rows = reader.read(None if read_on else most)[:most]
        return encode_rows(
            source,
            rows,
            self.encoder,
            skip_bad=self.skip_bad,
            bad=reader.bad,
            progress=self.progress,
            what=f"encoding {Path(parse(source).place).name}",
        )


def load_whole(name: str, source: str, config: TrainConfig, encoder: Encoder) -> EncodedDataset:
    """Return every example of a source, on disk if it is large. Raises `DataError`."""
    loader = _Loader(encoder, no_progress, config.skip_bad_rows)
    return select_trainable(loader.encode(source, large=cache.is_large(source)), name)


def load_all(
    config: TrainConfig, encoder: Encoder, progress: ReportProgress = no_progress
) -> EncodedDataset:
    """Return every example of --data, none held out; bad rows are reported and left out.

    Raises `DataError` where nothing can be trained.
    """
    source = _find_sources(config).trained[0][1]
    loader = _Loader(encoder, progress, skip_bad=True)
    return select_trainable(loader.encode(source, large=cache.is_large(source)), "data")


def count_shared(
    config: TrainConfig,
    encoder: Encoder,
    rows: EncodedDataset,
    progress: ReportProgress = no_progress,
) -> dict[str, int] | None:
    """Return how many examples --eval-data has, and how many of them `rows` has, too.

    They are compared token for token. None where no --eval-data is given. Raises `DataError`.
    """
    named = _find_sources(config).held_out
    if not named:
        return None
    source = named[0][1]
    loader = _Loader(encoder, progress, skip_bad=True)
    held_out = select_trainable(loader.encode(source, large=cache.is_large(source)), "held-out")
    return {
        "rows": len(held_out.examples),
        "trained": held_out.examples.count_in(rows.examples),
    }


def _labels(config: TrainConfig) -> list[str]:
    """Return a label for each source that is trained on: its option and its file, none twice."""
    found = [f"--data {_short(config.data)}", *(f"--mix {_short(one)}" for one in config.mix or ())]
    before = [found[:index].count(name) for index, name in enumerate(found)]
    return [f"{name} ({n + 1})" if n else name for name, n in zip(found, before, strict=True)]


def _short(source: str) -> str:
    return printable(Path(parse(source).place).name)[:100]


def _check_apart(trained: Sequence[Named], scored: Sequence[Named]) -> None:
    """Refuse to evaluate on a file that is trained on. Raises `UsageError`."""
    options = {_file_identity(source): option for option, source in trained}
    for option, source in scored:
        other = options.get(_file_identity(source))
        if other is not None:
            shows = "is learned" if option.startswith("--eval-data") else "is forgotten"
            raise UsageError(
                f"{option} is the file of {other}: examples that are trained on cannot show what"
                f" {shows}. Give other examples of the same kind{_or_none(option, other)}."
            )


def _or_none(option: str, other: str) -> str:
    alone = option.startswith("--eval-data") and other.startswith("--data")
    return ", or leave --eval-data out: some examples are then held out" if alone else ""


def _file_identity(source: str) -> object:
    """Return what identifies a file however its path is written; the name where there is none."""
    try:
        found = Path(parse(source).place).expanduser().stat()
    except (OSError, RuntimeError):
        return source
    return found.st_dev, found.st_ino

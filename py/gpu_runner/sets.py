"""The rows of a run: what it trains on, replay mixed in, and what it is scored on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpu_runner import data
from gpu_runner.config import DEMO, INSTRUCT, TrainConfig
from gpu_runner.data import RowSet
from gpu_runner.encode import Encoder
from gpu_runner.errors import UsageError
from gpu_runner.evaluate import GENERAL, TASK


def read(config: TrainConfig, encoder: Encoder) -> tuple[RowSet, dict[str, RowSet]]:
    """The training rows, and the held-out ones by suite. Raises `DataError`, `UsageError`."""
    bad = _list(config)
    train_source, eval_source = _task_files(config)
    rows = data.read_rows(train_source, bad)
    held: list[Any] = []
    if eval_source is None:
        rows, held = data.hold_out(rows, config.seed)
    train = data.load_set("training", rows, encoder, bad)
    if eval_source is None:
        task = _scored("held-out", held, config, encoder, _list(config))
    else:
        task = _read_and_scored("held-out", eval_source, config, encoder)
    suites = {TASK: task}
    for skill, path in _general_files(config):
        suites[f"{GENERAL}/{skill}"] = _read_and_scored(f"general {skill}", path, config, encoder)
    return _replayed(train, config, encoder), suites


def _list(config: TrainConfig) -> list[str] | None:
    """Where bad rows are told, if they are not to stop the run."""
    return [] if config.skip_bad_rows else None


def _read_and_scored(name: str, path: str, config: TrainConfig, encoder: Encoder) -> RowSet:
    bad = _list(config)
    return _scored(name, data.read_rows(path, bad), config, encoder, bad)


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
    rows = data.read_rows(config.replay, bad)
    if _place(config.replay) in map(_place, dict(_general_files(config)).values()):
        raise UsageError(
            f"--replay {config.replay} is also a --general set: what is trained on cannot show what"
            " is forgotten. Give other rows of the same kind."
        )
    replay = data.load_set("replay", rows, encoder, bad)
    return data.with_replay(train, replay, config.replay_share, config.seed)


def _place(source: str) -> Path:
    """Where a file is, however its path is written."""
    return Path(source).expanduser().resolve()


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

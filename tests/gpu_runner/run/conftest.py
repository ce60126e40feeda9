"""A run of six steps, for tests of what happens around them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import ExitCode
from gpu_runner.run.fine_tune import fine_tune
from resumed_runs import elsewhere, the_run


def six_steps(model: Path, rows: Path, cats: Path, runs: Path) -> TrainConfig:
    """A run of six steps, looked at and saved every three, in `runs`."""
    return resolve(
        {
            "model": str(model),
            "data": str(rows),
            "general": (("cats", str(cats)),),
            "steps": 6,
            "eval_every": 3,
            "save_every": 3,
            "lr": 1e-2,
            "sample_tokens": 4,
            "runs": str(runs),
        }
    )


@pytest.fixture
def config(model_dir: Path, sums_file: Path, cats_file: Path, tmp_path: Path) -> TrainConfig:
    """One that begins in a folder of its own."""
    return six_steps(model_dir, sums_file, cats_file, tmp_path / "runs")


@pytest.fixture(scope="session")
def shared_config(
    model_dir: Path, sums_file: Path, cats_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainConfig:
    """One whose runs all tests share: they take copies."""
    return six_steps(model_dir, sums_file, cats_file, tmp_path_factory.mktemp("shared") / "runs")


@pytest.fixture(scope="session")
def once_finished(shared_config: TrainConfig) -> Path:
    """A run that was never interrupted, to be copied."""
    assert fine_tune(shared_config, Console(quiet=True)) == ExitCode.OK
    return the_run(shared_config)


@pytest.fixture(scope="session")
def once_stopped(shared_config: TrainConfig, stop_after: Callable[[int], Console]) -> Path:
    """One that was stopped after four steps, to be copied."""
    other = elsewhere(shared_config, "stopped")
    assert fine_tune(other, stop_after(4)) == ExitCode.OK
    return the_run(other)


@pytest.fixture(scope="session")
def stopped_early(stop_after: Callable[[int], Console]) -> Callable[[TrainConfig], Path]:
    """Begins a run of six steps, and stops it after two; it is the only one of its folder."""

    def run(config: TrainConfig) -> Path:
        assert fine_tune(config, stop_after(2)) == ExitCode.OK
        return the_run(config)

    return run


@pytest.fixture
def finished(once_finished: Path, tmp_path: Path) -> Path:
    """A run that was never interrupted."""
    return Path(shutil.copytree(once_finished, tmp_path / "finished" / once_finished.name))


@pytest.fixture
def stopped(once_stopped: Path, tmp_path: Path) -> Path:
    """One that SIGTERM ended after four steps; it has checkpoints of steps 3 and 4."""
    return Path(shutil.copytree(once_stopped, tmp_path / "stopped" / once_stopped.name))

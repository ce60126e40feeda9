"""A run of six steps, for tests of what happens around them."""

from pathlib import Path

import pytest

from gpu_runner.config.schema import TrainConfig, resolve


def six_steps(model: Path, rows: Path, cats: Path, runs: Path) -> TrainConfig:
    """A run of six steps, looked at every three, in `runs`."""
    return resolve(
        {
            "model": str(model),
            "data": str(rows),
            "general": (("cats", str(cats)),),
            "steps": 6,
            "eval_every": 3,
            "lr": 1e-2,
            "sample_tokens": 4,
            "runs": str(runs),
        }
    )


@pytest.fixture
def config(model_dir: Path, sums_file: Path, cats_file: Path, tmp_path: Path) -> TrainConfig:
    """One that begins in a folder of its own."""
    return six_steps(model_dir, sums_file, cats_file, tmp_path / "runs")


@pytest.fixture(scope="module")
def module_config(
    model_dir: Path, sums_file: Path, cats_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainConfig:
    """One whose runs all tests of a file share: they take copies."""
    return six_steps(model_dir, sums_file, cats_file, tmp_path_factory.mktemp("shared") / "runs")

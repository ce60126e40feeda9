"""Files that the tools themselves have written, once for all tests of this folder."""

from pathlib import Path

import pytest

import foreign_runs


@pytest.fixture(scope="session")
def trainer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the real Trainer leaves: two checkpoints, and its state at the end."""
    import tiny_llama

    return foreign_runs.trained(tmp_path_factory.mktemp("trainer") / "out", tiny_llama.model())

"""`export RUN --to gguf`: the file, what is said of it, and what is left when it fails."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from gpu_runner.config.load import resolve
from gpu_runner.errors import CheckpointError, SystemFailure, UsageError
from gpu_runner.run.export_model import export_gguf
from gpu_runner.run.fine_tune import fine_tune

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("demo") / "runs"
    given = {"model": "demo", "steps": 2, "eval_rows": 4, "sample_tokens": 2, "runs": str(runs)}
    fine_tune(resolve(given), Console(quiet=True))
    (found,) = runs.iterdir()
    return found


def test_a_file_is_written_compared_and_described(run: Path, tmp_path: Path) -> None:
    found = export_gguf(run, tmp_path / "out" / "mine.gguf", "f16")
    assert found.file.stat().st_size == found.size
    assert found.largest_difference < 0.05
    assert found.same_token > 0.95
    assert found.modelfile.read_text().startswith("FROM ./mine.gguf\nPARAMETER stop ")
    assert "logits on 8 prompts differ" in found.sentences()[0]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine.gguf", "mine.Modelfile"}
    with pytest.raises(UsageError, match="exists already"):
        export_gguf(run, found.file, "f16")


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("x.gguf", "q4_k", "--type 'q4_k' is unknown: choose f16, bf16, q8_0"),
        ("x.bin", "f16", r"give a file name that ends in .gguf"),
    ],
)
def test_what_cannot_be_written_is_refused(
    run: Path, tmp_path: Path, name: str, kind: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        export_gguf(run, tmp_path / name, kind)


def test_nothing_half_written_stays(run: Path, tmp_path: Path, full_disk: int) -> None:
    del full_disk
    with pytest.raises(SystemFailure, match="cannot be written"):
        export_gguf(run, tmp_path / "x.gguf", "f16")
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_model_is_named(run: Path, tmp_path: Path) -> None:
    empty = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(empty / "model")
    shutil.rmtree(empty / "checkpoints", ignore_errors=True)
    with pytest.raises(CheckpointError, match="neither a finished model nor a whole checkpoint"):
        export_gguf(empty, tmp_path / "x.gguf", "f16")

"""A stopped run whose files were damaged since: it makes them again, or names the one it needs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gpu_runner.config.load import EARLIER, resolve
from gpu_runner.errors import CheckpointError, RunnerError, SystemFailure
from gpu_runner.run.directory import read_config
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import resume
from resumed_runs import assert_same_result, the_run
from run_process import losses

pytestmark = pytest.mark.slow
Runs = tuple[Path, Path]


@pytest.fixture(scope="module")
def both(
    model_dir: Path,
    sums_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    stop_after: Callable[[int], Console],
) -> Runs:
    """The same run with all that is derived from θ₀, once whole, once stopped after four steps."""
    place = tmp_path_factory.mktemp("derived")
    choices = {"model": str(model_dir), "data": str(sums_file), "general": (), "sample_tokens": 0}
    choices |= {"steps": 6, "lr": 1e-2, "eval_every": 2, "save_every": 2}
    choices |= {"ewc": 1.0, "fisher_data": str(sums_file)}
    whole, broken = (resolve(choices | {"runs": str(place / name)}) for name in ("one", "two"))
    fine_tune(whole, Console(quiet=True))
    fine_tune(broken, stop_after(4))
    return the_run(whole), the_run(broken)


@pytest.fixture
def stopped(both: Runs, tmp_path: Path) -> Path:
    """The stopped one, to be damaged."""
    return Path(shutil.copytree(both[1], tmp_path / "runs" / both[1].name))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "gone"])
@pytest.mark.parametrize("file", ["key.json", "0/log_p-0"])
def test_what_θ0_can_make_again_is_made_again(
    file: str, damage: Callable[[Path], None], both: Runs, stopped: Path, console: Console
) -> None:
    damage(stopped / "held-out-reference" / file)
    resume(stopped, console)
    assert_same_result(stopped, both[0])
    assert not (stopped / "held-out-reference").exists()


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("fisher.safetensors", r"fisher\.safetensors cannot be read \(.*\): put it back from a co"),
        ("config.json", r"config\.json cannot be read \(its record is not JSON\)"),
    ],
)
def test_what_it_cannot_make_again_is_named(
    file: str, found: str, stopped: Path, console: Console
) -> None:
    cut(stopped / file)
    with pytest.raises(RunnerError, match=found):
        resume(stopped, console)


def test_somebody_s_file_in_it_is_left_and_named_before_a_step_is_taken(
    stopped: Path, console: Console
) -> None:
    folder = stopped / "held-out-reference"
    (folder / "notes.txt").write_text("mine")
    (folder / "key.json").unlink()
    before = losses(stopped)
    with pytest.raises(SystemFailure, match=r"notes\.txt is not in manifest\.json"):
        resume(stopped, console)
    assert (folder / "notes.txt").read_text() == "mine"
    assert losses(stopped) == before


@pytest.mark.parametrize("name", ["fisher", "initial"])
def test_a_folder_of_shards_that_lacks_one_is_refused_by_its_name(
    name: str, stopped: Path, console: Console
) -> None:
    (stopped / name / "weights").mkdir(parents=True)
    (stopped / name / "manifest.json").write_text(
        '{"files": {"weights/1.safetensors": {"bytes": 9, "sha256": "0"}}}'
    )
    (stopped / name / "weights" / "0.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=rf"{name}: weights/1\.safetensors is missing"):
        resume(stopped, console)


def test_a_run_of_an_earlier_version_is_read_where_it_did_not_use_what_is_gone(
    stopped: Path,
) -> None:
    record = stopped / "config.json"
    settings = json.loads(record.read_text())
    record.write_text(json.dumps(settings | EARLIER))
    assert json.loads(json.dumps(read_config(stopped).as_json())) == settings
    record.write_text(json.dumps(settings | {"kl": 1.0}))
    with pytest.raises(CheckpointError, match="kl is not a setting of a run"):
        read_config(stopped)

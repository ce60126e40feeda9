"""A run that was copied, or is somebody else's: it goes on in its own folder, and writes there."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, ExitCode
from gpu_runner.run.resume import ResumeOptions, resume

pytestmark = pytest.mark.slow

StoppedEarly = Callable[[TrainConfig], Path]


@pytest.fixture
def run(
    model_dir: Path, sums_file: Path, tmp_path: Path, stopped_early: StoppedEarly
) -> tuple[Path, Path]:
    """A run that was stopped after two steps, and where its model shall go."""
    out = tmp_path / "trained"
    options = {"model": str(model_dir), "data": str(sums_file), "general": (), "steps": 6}
    options |= {
        "eval_every": 2,
        "save_every": 2,
        "sample_tokens": 0,
        "out": str(out),
        "runs": str(tmp_path / "runs"),
    }
    return stopped_early(resolve(options)), out


def test_a_copy_goes_on_in_its_own_folder_and_says_so(
    run: tuple[Path, Path], tmp_path: Path, console: Console
) -> None:
    made, out = run
    copy = Path(shutil.copytree(made, tmp_path / "elsewhere" / made.name))
    before = sorted(path.name for path in made.rglob("*"))
    assert resume(copy, console) == ExitCode.OK
    assert (copy / "model" / "model.safetensors").is_file()
    assert not out.exists()
    assert sorted(path.name for path in made.rglob("*")) == before
    said = (copy / "events.jsonl").read_text()
    assert f"names {out} for the trained model" in said
    assert f"resume with --out {out}" in said
    assert resume(made, console, ResumeOptions(out=str(out))) == ExitCode.OK
    assert (out / "model.safetensors").is_file()  # asked for again, it is written there


def test_a_record_that_calls_its_folder_home_does_not_say_where_to_write(
    run: tuple[Path, Path], tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, out = run
    record = json.loads((made / "config.json").read_text())
    monkeypatch.chdir(tmp_path)
    (made / "config.json").write_text(json.dumps(record | {"runs": "runs", "out": str(out)}))
    assert resume(Path("runs") / made.name, console) == ExitCode.OK
    assert not out.exists()
    assert (made / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "name",
    ["config.json.tmp", "finished", "initial.json", "checkpoints", "model", "checkpoints/step-1"],
)
def test_a_folder_with_a_link_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, console: Console
) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (run / name).parent.mkdir(parents=True)
    record = dataclasses.asdict(TrainConfig(model="demo", data="demo"))
    (run / "config.json").write_text(json.dumps(record))
    (run / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match=f"{name} is a link to {outside}"):
        resume(run, console)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        '{"lr": 1e999}', '{"steps": 1e18}', '{"lr": "1"}', '{"model": null}', '{"general": [[1]]}',
        '{"seed": ' + "9" * 400 + "}", '{"a":' * 5000, "[]", "nul", '{"out": 5}',
        '{"runs": "\\u0000"}',
        '{"params": ["fp32"]}', '{"sample_prompts": "ab"}', '{"unknown": 1}',
    ],
)  # fmt: skip
def test_a_record_that_was_changed_by_hand_is_refused_in_one_sentence(
    tmp_path: Path, console: Console, damage: str
) -> None:
    good = dataclasses.asdict(TrainConfig(model="demo", data="demo"))
    try:
        text = json.dumps(good | json.loads(damage), allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        text = damage
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        resume(tmp_path, console)
    assert "\n" not in str(caught.value)

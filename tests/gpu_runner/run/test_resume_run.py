"""A run that goes on: what equals one that was never stopped, and what is refused or said."""

import hashlib
import json
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

import tiny_llama
from gpu_runner import atomic
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import cache
from gpu_runner.errors import CheckpointError, ExitCode, SystemFailure, UsageError
from gpu_runner.model import blocks
from gpu_runner.run.directory import claim
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import ResumeOptions, resume
from gpu_runner.run.run_models import load_initial
from gpu_runner.world import World
from resumed_runs import assert_same_result, kinds, said, the_run
from run_process import events

pytestmark = pytest.mark.slow

StoppedEarly = Callable[[TrainConfig], Path]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_stopped_run_goes_on_bit_by_bit(finished: Path, stopped: Path, console: Console) -> None:
    assert kinds(stopped, "run.end")[0]["status"] == "stopped"
    assert resume(stopped, console) == ExitCode.OK
    assert kinds(stopped, "run.resume")[0]["from_step"] == 4
    assert "It resumes after step 4." in console.file.getvalue()  # type: ignore[attr-defined]
    assert_same_result(finished, stopped)
    baselines = {e["baseline"] for e in kinds(stopped, "eval") if e["suite"] == "task"}
    assert len(baselines) == 1
    assert said(stopped) == ""


@pytest.mark.parametrize("recorded", [True, False, None])  # None: of an earlier version
def test_it_compiles_as_its_first_attempt_did(
    recorded: bool | None, stopped: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = stopped / "config.json"
    settings = json.loads(record.read_text("utf-8"))
    record.write_text(json.dumps(settings | {"compile": recorded}), "utf-8")
    asked: list[bool] = []
    own = blocks.prepare

    def prepare(*given: Any, compiled: bool, **more: Any) -> None:
        asked.append(compiled)
        own(*given, compiled=False, **more)  # which is faster

    monkeypatch.setattr(blocks, "prepare", prepare)
    assert resume(stopped, console) == ExitCode.OK
    assert asked == [bool(recorded)]


def test_two_checkpoints_stay_so_that_one_bad_bit_costs_one_interval(
    finished: Path, stopped: Path, console: Console
) -> None:
    assert checkpoints(stopped) == ["step-000003", "step-000004"]
    file = stopped / "checkpoints" / "step-000004" / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert resume(stopped, console) == ExitCode.OK
    assert kinds(stopped, "run.resume")[0]["from_step"] == 3
    assert "its sha256 differs" in said(stopped)
    assert "The one before it is used; the damaged one stays as step-000004.damaged." in said(
        stopped
    )
    assert_same_result(finished, stopped)
    assert "step-000004.damaged" in checkpoints(stopped)


def test_without_a_whole_checkpoint_nothing_begins_again_by_itself(
    stopped: Path, console: Console
) -> None:
    for path in (stopped / "checkpoints").iterdir():
        (path / "state.json").write_text("{}")
    before = sorted(stopped.rglob("*"))
    with pytest.raises(CheckpointError, match=r"no whole checkpoint: .*2 bytes.* --restart"):
        resume(stopped, console)
    assert sorted(stopped.rglob("*")) == before
    assert resume(stopped, console, ResumeOptions(restart=True)) == ExitCode.OK
    assert kinds(stopped, "run.resume")[0]["from_step"] == 0
    assert "state.json has 2 bytes" in said(stopped)
    assert "restarts at step 0; the damaged one stays as step-000003.damaged, step-0000" in said(
        stopped
    )


def test_a_whole_checkpoint_is_not_thrown_away_by_a_restart(
    stopped: Path, console: Console
) -> None:
    with pytest.raises(UsageError, match=r"--restart: .*step-000004 is whole"):
        resume(stopped, console, ResumeOptions(restart=True))


def test_a_run_killed_before_its_log_was_there_begins_at_step_0(
    finished: Path, stopped: Path, console: Console
) -> None:
    for name in ("events.jsonl", "checkpoints"):
        path = stopped / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert resume(stopped, console) == ExitCode.OK
    assert events(stopped)[0]["kind"] == "run.start"
    assert not kinds(stopped, "run.resume")
    assert_same_result(finished, stopped)


def test_a_log_that_was_lost_begins_with_what_runs(stopped: Path, console: Console) -> None:
    (stopped / "events.jsonl").write_text("")
    assert resume(stopped, console) == ExitCode.OK
    first, second, *_ = events(stopped)
    assert (first["kind"], second["kind"], second["from_step"]) == ("run.start", "run.resume", 4)


def test_a_run_that_another_process_holds_is_refused_by_name(
    stopped: Path, console: Console
) -> None:
    with (
        claim(stopped, World()),
        pytest.raises(CheckpointError, match="is being trained by another process"),
    ):
        resume(stopped, console)


@pytest.fixture
def own_model(
    config: TrainConfig, tmp_path: Path, stopped_early: StoppedEarly
) -> tuple[Path, Path]:
    """A run that was stopped after two steps, and the model of its own that it started from."""
    model = Path(shutil.copytree(config.model, tmp_path / "model"))
    return stopped_early(replace(config, model=str(model))), model


def test_another_base_model_is_refused_and_may_be_accepted(
    own_model: tuple[Path, Path], console: Console, tmp_path: Path
) -> None:
    run, model = own_model
    same = Path(shutil.copytree(run, tmp_path / "same" / run.name))
    assert resume(same, console) == ExitCode.OK
    weights = load_file(model / "model.safetensors")
    save_file(
        {n: 1.5 * w for n, w in weights.items()}, model / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(CheckpointError, match=r"the model it started from \(θ₀ was .*, is ") as no:
        resume(run, console)
    assert "give --accept-changes" in str(no.value)
    assert "\n" not in str(no.value)
    assert resume(run, console, ResumeOptions(accept_changes=True)) == ExitCode.OK
    assert "Accepted: θ₀ is another model than the run began with: drift" in said(run)
    loss, other_loss = (kinds(each, "eval")[-1] for each in (same, run))
    assert loss["loss"] == other_loss["loss"]  # the weights are the same
    assert abs(loss["kl"] - other_loss["kl"]) > 0.01  # from another θ₀
    with pytest.raises(CheckpointError, match="has other weights than those with which"):
        load_initial(same, torch.device("cpu"))


def test_the_same_weights_in_other_files_are_the_same_model(
    own_model: tuple[Path, Path], console: Console
) -> None:
    run, model = own_model
    weights = load_file(model / "model.safetensors")
    save_file(
        dict(reversed(weights.items())), model / "model.safetensors", {"format": "pt", "a": "b"}
    )
    assert resume(run, console) == ExitCode.OK
    assert said(run) == ""


def test_changed_training_rows_are_refused_and_may_be_accepted(
    config: TrainConfig, console: Console, tmp_path: Path, stopped_early: StoppedEarly
) -> None:
    rows = tiny_llama.write_rows(tmp_path / "mine.jsonl", tiny_llama.sums(30))
    held = tiny_llama.write_rows(tmp_path / "held.jsonl", tiny_llama.sums(4))
    mine = replace(config, data=str(rows), eval_data=str(held))
    run = stopped_early(mine)
    tiny_llama.write_rows(rows, tiny_llama.sums(31))
    with pytest.raises(
        CheckpointError, match=r"has changed: the training data: the rows of --data mine\.jsonl \("
    ):
        resume(run, console)
    assert resume(run, console, ResumeOptions(accept_changes=True)) == ExitCode.OK
    assert "Accepted: the training rows are other ones" in said(run)
    assert "the held-out rows" not in said(run)


def test_changed_held_out_rows_are_refused_or_their_change_begins_anew(
    config: TrainConfig, console: Console, tmp_path: Path, stopped_early: StoppedEarly
) -> None:
    held = tiny_llama.write_rows(tmp_path / "held.jsonl", tiny_llama.sums(8))
    mine = replace(config, eval_data=str(held))
    run = stopped_early(mine)
    tiny_llama.write_rows(held, tiny_llama.sums(5))
    with pytest.raises(CheckpointError, match=r"has changed: the held-out rows of task \("):
        resume(run, console)
    assert resume(run, console, ResumeOptions(accept_changes=True)) == ExitCode.OK
    task = {e["step"]: e for e in kinds(run, "eval") if e["suite"] == "task"}
    cats = {e["step"]: e for e in kinds(run, "eval") if e["suite"] == "general/cats"}
    assert task[3]["delta"] == 0.0
    assert task[6]["baseline"] == task[3]["loss"]
    assert cats[6]["baseline"] == cats[0]["loss"]
    assert kinds(run, "run.end")[-1]["summary"]["losses"]["task"][0] == task[3]["loss"]


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file of a run; a checkpoint's manifest then says what it is now."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    manifest = file.parent / atomic.MANIFEST
    if manifest.exists():
        sealed = json.loads(manifest.read_text())
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        sealed["files"][file.name] = {"bytes": file.stat().st_size, "sha256": digest}
        manifest.write_text(json.dumps(sealed))


@pytest.mark.parametrize("least", [1, 10**9])
def test_of_a_mix_the_set_that_changed_is_named(
    least: int,
    config: TrainConfig,
    console: Console,
    tmp_path: Path,
    stopped_early: StoppedEarly,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "LEAST_BYTES", least)
    monkeypatch.setenv(cache.CACHE_ENV, str(tmp_path / "cache"))
    rows = {
        name: tiny_llama.write_rows(tmp_path / f"{name}.jsonl", tiny_llama.sums(count))
        for name, count in (("mine", 30), ("more", 20), ("old", 15), ("held", 4))
    }
    options = {"mix": (f"{rows['more']}:weight=1.5",), "replay": str(rows["old"])}
    mine = replace(config, data=str(rows["mine"]), eval_data=str(rows["held"]), **options)
    run = stopped_early(mine)
    kept = json.loads((run / "checkpoints" / "step-000002" / "state.json").read_text())
    names = ["--data mine.jsonl", "--mix more.jsonl", "--replay old.jsonl"]
    assert list(kept["origins"]["sets"]) == names
    assert resume(Path(shutil.copytree(run, tmp_path / "same" / run.name)), console) == ExitCode.OK
    tiny_llama.write_rows(rows["more"], tiny_llama.sums(21))
    with pytest.raises(CheckpointError, match=r"training data: the rows of --mix more\.jsonl \("):
        resume(run, console)
    tiny_llama.write_rows(rows["more"], tiny_llama.sums(20))
    rewrite(run / "config.json", lambda kept: kept.update(mix=[f"{rows['more']}:weight=0.5"]))
    with pytest.raises(CheckpointError, match=r"the weight of --mix more\.jsonl \(1\.5 → 0\.5\)"):
        resume(run, console)


def test_versions_and_choices_that_changed_are_reported(stopped: Path, console: Console) -> None:
    state = stopped / "checkpoints" / "step-000004" / "state.json"
    rewrite(state, lambda kept: kept["origins"]["computed"].update(torch="1.0", processes="2"))
    rewrite(stopped / "config.json", lambda kept: kept.update(lr=2e-2))
    assert resume(stopped, console) == ExitCode.OK
    assert "Choices that hold from here on: lr 0.01 → 0.02." in said(stopped)
    assert f"processes 2 → 1, torch 1.0 → {torch.__version__}. What is computed" in said(stopped)


def test_moments_of_another_optimizer_are_refused(stopped: Path, console: Console) -> None:
    rewrite(stopped / "config.json", lambda kept: kept.update(optimizer="sgd"))
    with pytest.raises(CheckpointError, match=r"optimizer adamw → sgd in .*config\.json"):
        resume(stopped, console, ResumeOptions(accept_changes=True))


def test_a_checkpoint_that_does_not_say_what_its_run_is_made_of_is_refused(
    stopped: Path, console: Console
) -> None:
    rewrite(
        stopped / "checkpoints" / "step-000004" / "state.json", lambda kept: kept.pop("origins")
    )
    with pytest.raises(CheckpointError, match=r"state\.json: .*origins"):
        resume(stopped, console)


def test_a_checkpoint_of_a_newer_version_is_refused_in_a_sentence(
    stopped: Path, console: Console
) -> None:
    for path in (stopped / "checkpoints").iterdir():
        rewrite(path / "state.json", lambda kept: kept.update(version=2))
    with pytest.raises(CheckpointError, match=r"version 2, and this unfrozen reads up to 1: upd"):
        resume(stopped, console)


def test_fields_that_a_newer_version_added_or_left_out_are_no_traceback(
    finished: Path, stopped: Path, console: Console
) -> None:
    def other(kept: dict[str, Any]) -> None:
        kept["state"]["new"] = kept["history"]["newer"] = kept["newest"] = 1
        del kept["history"]["peak_bytes"]

    rewrite(stopped / "checkpoints" / "step-000004" / "state.json", other)
    assert resume(stopped, console) == ExitCode.OK
    assert_same_result(finished, stopped)


def test_a_disk_that_is_full_at_the_fisher_leaves_a_run_that_goes_on(
    config: TrainConfig, console: Console, request: pytest.FixtureRequest
) -> None:
    careful = replace(config, ewc=1.0, fisher_rows=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    request.getfixturevalue("full_disk")
    with pytest.raises(
        SystemFailure, match=r"fisher\.safetensors could not be written .*Make room"
    ):
        fine_tune(careful, console)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert resume(the_run(careful), console) == ExitCode.OK
    assert kinds(the_run(careful), "run.resume")[0]["from_step"] == 0


def test_what_is_no_run_is_not_resumed(tmp_path: Path, console: Console) -> None:
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        resume(tmp_path, console)
    (tmp_path / "config.json").write_text('{"modle": 1}')
    with pytest.raises(CheckpointError, match="cannot be read"):
        resume(tmp_path, console)

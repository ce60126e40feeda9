import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import (
    DataError,
    ExitCode,
    SystemFailure,
    UsageError,
)
from gpu_runner.run.fine_tune import check_processes, fine_tune
from gpu_runner.world import World

pytestmark = pytest.mark.slow

StopAfter = Callable[[int], Console]


def the_run(config: TrainConfig) -> Path:
    (run,) = Path(config.runs).iterdir()
    return run


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "events.jsonl").read_text("utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


@pytest.fixture
def finished(config: TrainConfig, console: Console) -> Path:
    assert fine_tune(config, console) == ExitCode.OK
    return the_run(config)


def test_a_run_tells_its_whole_story(finished: Path) -> None:
    (begun,), (ended,) = events(finished, "run.start"), events(finished, "run.end")
    counts = {"num_parameters": 27_040, "num_trained": 27_040}
    known = {"type": "llama", "config_sha256": begun["model"]["config_sha256"]}
    assert begun["model"] == {"name": "model"} | known | counts
    assert begun["data"]["train_rows"] == 36
    assert begun["plan"]["steps"] == len(begun["plan"]["lr"]) == 6
    assert begun["bytes_per_parameter"] == 16
    losses = [e["m"]["train/loss"] for e in events(finished, "metrics") if "train/loss" in e["m"]]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert ended["status"] == "finished"
    assert ended["summary"]["steps"] == 6
    assert [e["when"] for e in events(finished, "sample")] == ["before"] * 2 + ["after"] * 2


def test_every_line_of_the_log_is_whole_and_in_order(finished: Path) -> None:
    lines = (finished / "events.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [event["seq"] for event in found] == list(range(len(found)))
    assert max(len(line) for line in lines) <= 16 * 1024
    assert not [event for event in found if "cut" in event]


def test_the_change_since_step_zero_is_in_every_evaluation(finished: Path) -> None:
    task = [e for e in events(finished, "eval") if e["suite"] == "task"]
    assert [e["step"] for e in task] == [0, 3, 6]
    assert task[0]["delta"] == 0.0
    assert task[-1]["delta"] == pytest.approx(task[-1]["loss"] - task[0]["loss"])
    assert {e["suite"] for e in events(finished, "eval")} == {"task", "general", "general/cats"}


def test_predicted_and_measured_memory_agree(finished: Path) -> None:
    (begun,), (ended,) = events(finished, "run.start"), events(finished, "run.end")
    measured = {e["instant"]: e["total_bytes"] for e in events(finished, "mem")}
    predicted = begun["predicted"]["instants"]
    assert measured.keys() == predicted.keys()
    for instant, components in predicted.items():
        assert measured[instant] == pytest.approx(sum(components.values()), rel=0.03), instant
    assert ended["summary"]["memory_ratio"] == pytest.approx(1.0, abs=0.03)


def test_a_disk_too_full_for_the_initial_weights_leaves_no_run(
    config: TrainConfig, console: Console, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """They are written where the model's files name its weights in another way than it does."""
    bare = Path(shutil.copytree(config.model, tmp_path / "bare")) / "model.safetensors"
    save_file(
        {n.removeprefix("model."): w for n, w in load_file(bare).items()}, bare, {"format": "pt"}
    )
    request.getfixturevalue("full_disk")
    with pytest.raises(
        SystemFailure, match=r"initial\.safetensors could not be written .*Make room"
    ):
        fine_tune(replace(config, model=str(bare.parent)), console)
    assert list(Path(config.runs).iterdir()) == []


def test_the_result_loads_in_transformers_and_has_moved(finished: Path, model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(finished / "model")
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    assert model.generate(**tokenizer("1+1=", return_tensors="pt"), max_new_tokens=2).shape[0] == 1
    before = load_file(model_dir / "model.safetensors")
    after = load_file(finished / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_a_step_that_did_better_keeps_its_checkpoint_and_is_named(
    config: TrainConfig, console: Console
) -> None:
    """At a rate of 0.3 the task loss falls once and then jumps about."""
    wild = {
        "lr": 0.3,
        "clip": 0.0,
        "eval_every": 1,
        "save_every": 1,
        "schedule": "constant",
        "warmup": 0,
    }
    fine_tune(resolve({**config.as_json(), **wild}), console)
    run = the_run(config)
    task = {e["step"]: e["loss"] for e in events(run, "eval") if e["suite"] == "task" and e["step"]}
    best = min(task, key=lambda step: task[step])
    assert best < 6
    kept, last = sorted((run / "checkpoints").iterdir())
    assert (kept.name, last.name) == (f"step-{best:06d}", "step-000006")
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert f"Step {best} had a lower task loss ({task[best]:.3f})" in text
    AutoModelForCausalLM.from_pretrained(kept)


def test_the_summary_names_losses_memory_and_what_to_do_next(
    config: TrainConfig, console: Console
) -> None:
    fine_tune(config, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("Finished: 6 steps", "general/cats", "measured", "predicted", "serve --runs"):
        assert part in text


def test_a_run_that_was_scored_once_shows_no_change(
    config: TrainConfig, stop_after: StopAfter
) -> None:
    console = stop_after(2)
    fine_tune(resolve({**config.as_json(), "eval_every": 5, "save_every": 5}), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Stopped after 2 of 6 steps" in text
    assert "before" not in text


def test_a_user_error_leaves_no_run_behind(config: TrainConfig, console: Console) -> None:
    bad = resolve({**config.as_json(), "data": "none.jsonl"})
    with pytest.raises(DataError):
        fine_tune(bad, console)
    assert not Path(config.runs).exists()


def test_an_output_directory_that_exists_is_refused(
    config: TrainConfig, console: Console, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"--out .* exists"):
        fine_tune(resolve({**config.as_json(), "out": str(tmp_path)}), console)


def test_a_runs_directory_that_cannot_be_made_is_reported(
    config: TrainConfig, console: Console, sums_file: Path
) -> None:
    with pytest.raises(SystemFailure, match="cannot create a run there"):
        fine_tune(resolve({**config.as_json(), "runs": str(sums_file / "x")}), console)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"device": "cpu", "activation_offload": True}, r"give --checkpointing full"),
        ({"grad_accum": 3}, r"--grad-accum 3 .* say --grad-accum 4"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_before_anything_is_read(
    config: TrainConfig, choice: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check_processes(replace(config, **choice), World(size=2))
    check_processes(replace(config, **choice), World())


def test_several_processes_that_write_whole_files_wait_for_them(config: TrainConfig) -> None:
    beside = replace(config, checkpoint_files="whole", async_checkpoints=True)
    check_processes(beside, World())
    with pytest.raises(UsageError, match=r"2 processes write .*Give --checkpoint-files auto\."):
        check_processes(beside, World(size=2))


def test_a_run_with_updates_within_the_backward_pass_goes_on_with_as_many_processes(
    config: TrainConfig,
) -> None:
    early = replace(config, optimizer_in_backward=True, clip=0.0, grad_accum=2)
    check_processes(early, World(size=2))
    with pytest.raises(UsageError, match="resume with that many processes"):
        check_processes(early, World())


def test_bf16_weights_train_at_half_the_bytes(config: TrainConfig, console: Console) -> None:
    assert fine_tune(resolve({**config.as_json(), "params": "bf16"}), console) == ExitCode.OK
    run = the_run(config)
    assert events(run, "run.start")[0]["bytes_per_parameter"] == 8
    assert any("rounded away" in event["text"] for event in events(run, "alert"))
    assert events(run, "run.end")[0]["summary"]["memory_ratio"] == pytest.approx(1.0, abs=0.1)


def test_samples_have_different_prompts_where_the_held_out_examples_have(
    config: TrainConfig, tmp_path: Path, console: Console
) -> None:
    rows: list[dict[str, object]] = [{"prompt": "1+1=", "completion": str(n)} for n in range(5)]
    held_out = tiny_llama.write_rows(
        tmp_path / "held-out.jsonl", [*rows, {"prompt": "2+2=", "completion": "4"}]
    )
    once = replace(config, eval_data=str(held_out), steps=1, general=())
    fine_tune(once, console)
    before = [e["prompt"] for e in events(the_run(config), "sample") if e["when"] == "before"]
    assert before == ["1+1=", "2+2="]


def test_before_the_first_step_the_log_says_what_is_done_and_how_far(finished: Path) -> None:
    lines = (finished / "events.jsonl").read_text("utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    first = next(n for n, event in enumerate(log) if "train/loss" in event.get("m", {}))
    done = [event["doing"] for event in log[:first] if "doing" in event]
    assert done[:2] == ["scoring examples", "evaluating"]
    beats = [event for event in log if event["kind"] == "beat"]
    after = next(event for event in beats if event["seq"] > log[first]["seq"])
    assert "doing" not in after


@pytest.mark.matrix
def test_an_export_prints_the_path_and_no_noise_of_libraries(finished: Path) -> None:
    command = [sys.executable, "-m", "gpu_runner", "export", str(finished), "--to", "hf"]
    settings = {k: v for k, v in os.environ.items() if not k.startswith(("TQDM", "TRANSFORMERS"))}
    done = subprocess.run(
        [*command, "--dtype", "bf16"], env=settings, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{finished / 'export' / 'hf'}\n"
    assert done.stderr == ""

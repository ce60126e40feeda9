import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_families
import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import ALLOWED, TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.plan import machine, plan
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.payloads import planned_rates, start_payload
from gpu_runner.system import limits
from unfrozen.schedules import Schedule
from unfrozen.units import parse_bytes


def made(model_dir: Path, sums_file: Path, **changes: Any) -> plan.RunPlan:
    options = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    return plan.make_plan(resolve({**options, **changes}))


def test_steps_follow_from_epochs_and_rows(model_dir: Path, sums_file: Path) -> None:
    planned = made(model_dir, sums_file, epochs=2.0, micro_batch=3, grad_accum=2)
    assert planned.steps == 12  # 36 rows, twice, 6 a step


def test_warmup_is_a_twentieth_unless_given(model_dir: Path, sums_file: Path) -> None:
    assert made(model_dir, sums_file, steps=100).schedule.warmup_steps == 5
    assert made(model_dir, sums_file, steps=100, warmup=7).schedule.warmup_steps == 7


def test_the_heaviest_step_is_predicted(model_dir: Path, sums_file: Path) -> None:
    planned = made(model_dir, sums_file)
    shapes = [s for n in range(1, planned.steps + 1) for s in planned.feed.shapes(n)]
    assert planned.heaviest in list(planned.feed.shapes(planned.heaviest_step))
    assert planned.heaviest.length == max(shape.length for shape in shapes)


def test_without_general_files_english_is_watched(model_dir: Path, sums_file: Path) -> None:
    options = {"model": str(model_dir), "data": str(sums_file), "eval_rows": 2}
    assert set(plan.make_plan(resolve(options)).suites) == {"task", "general/english"}


def test_advised_settings_fit_in_what_is_free(model_dir: Path, sums_file: Path) -> None:
    planned = made(model_dir, sums_file, micro_batch=8, grad_accum=2)
    assert planned.prediction is not None
    short = dataclasses.replace(planned, available_bytes=planned.prediction.peak_bytes)
    suggested = re.findall(r"predicted peak ([\d.]+ [KMG]iB)", short.advice())
    assert len(suggested) == 3
    assert not [peak for peak in suggested if not parse_bytes(peak) <= 0.9 * short.available_bytes]
    none = dataclasses.replace(planned, available_bytes=1)
    assert none.advice().startswith("No combination of settings fits; these need the least: --")


def test_too_little_memory_and_disk_are_reported_before_the_start(
    model_dir: Path, sums_file: Path
) -> None:
    planned = made(model_dir, sums_file)
    assert planned.remarks() == []
    assert planned.prediction is not None
    huge = {"load": {"params": 1 << 60}}
    starved = dataclasses.replace(
        planned, prediction=dataclasses.replace(planned.prediction, instants=huge)
    )
    assert "GiB are free. Give --" in starved.remarks()[0]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", sorted({*ALLOWED["optimizer"]} - {"adamw8bit"}))
def test_disk_counts_what_a_checkpoint_of_each_optimizer_holds(
    model_dir: Path, sums_file: Path, tmp_path: Path, optimizer: str
) -> None:
    changes = {"optimizer": optimizer, "steps": 2, "save_every": 1, "general": (), "eval_rows": 2}
    planned = made(model_dir, sums_file, **changes, sample_tokens=0, runs=str(tmp_path))
    fine_tune(planned.config, Console(quiet=True))
    tensors = [*tmp_path.glob("*/checkpoints/step-000002/**/*.safetensors")]
    size = sum(file.stat().st_size for file in tensors)
    assert planned.checkpoint_bytes == pytest.approx(size, rel=0.15)
    kept = planned.weight_bytes + 4 * planned.checkpoint_bytes
    assert planned.disk_bytes == kept + planned.held_out_bytes
    tokens = sum(rows.trainable_tokens for rows in planned.suites.values())
    assert planned.held_out_bytes == 64 * (4 + 4) * tokens  # of each token 64 likeliest, with log p


@pytest.mark.parametrize(
    ("changes", "left", "beside"),
    [
        ({}, 2, True),
        ({}, 1.9, False),
        ({"async_checkpoints": True}, 1, True),
        ({"async_checkpoints": False}, 9, False),
    ],
)
def test_on_a_gpu_checkpoints_are_written_beside_the_steps_where_the_host_has_room(
    changes: dict[str, bool],
    left: float,
    beside: bool,
    model_dir: Path,
    sums_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_cpu = made(model_dir, sums_file, **changes)
    room = limits.Limit("memory", 1 << 40, round(left * on_cpu.checkpoint_bytes))
    monkeypatch.setattr(limits, "memory", lambda: room)
    on_gpu = dataclasses.replace(on_cpu, device=torch.device("cuda"))
    assert plan.writes_beside_steps(on_gpu) == beside
    assert plan.writes_beside_steps(on_cpu) == changes.get("async_checkpoints", False)


def test_adamw_beside_a_gpu_is_held_against_the_memory_of_its_host(
    model_dir: Path, sums_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = made(model_dir, sums_file, optimizer_offload=True, params="bf16")
    on_gpu = dataclasses.replace(on_cpu, device=torch.device("cuda"))
    assert on_cpu.shape is not None
    assert (on_cpu.offloaded_bytes, on_gpu.offloaded_bytes // on_cpu.shape.num_parameters) == (
        0,
        16,
    )
    early = dataclasses.replace(on_gpu.config, optimizer_in_backward=True)
    assert dataclasses.replace(on_gpu, config=early).offloaded_bytes < on_gpu.offloaded_bytes
    for room, said in ((on_gpu.offloaded_bytes - 1, 1), (on_gpu.offloaded_bytes, 0)):
        limit = limits.Limit("memory", 1 << 40, room)
        monkeypatch.setattr(limits, "memory", lambda limit=limit: limit)
        found = [text for text in on_gpu.remarks() if "of CPU memory" in text]
        assert len(found) == said
        assert not [text for text in on_gpu.remarks() if "rounded away" in text]
    assert not plan.writes_beside_steps(on_gpu)


def test_a_model_of_an_unknown_type_trains_without_a_prediction(
    model_dir: Path, sums_file: Path
) -> None:
    known = made(model_dir, sums_file)
    predictor = dataclasses.replace(known.predictor, shape=None)
    prediction, why = predictor.try_to_predict(known.config, known.heaviest)
    assert prediction is None
    planned = dataclasses.replace(
        known, shape=None, predictor=predictor, prediction=None, not_predicted=why
    )
    remark = "its memory cannot be predicted (an unknown model type is traced on one process only)"
    assert remark in planned.remarks()[0]
    assert planned.advice() == "Give a smaller --micro-batch or --seq-len."
    assert planned.disk_bytes == 0


def test_rows_beyond_learned_positions_are_refused(tmp_path: Path, sums_file: Path) -> None:
    tiny_families.model("gpt2", n_positions=7).save_pretrained(tmp_path)
    tiny_llama.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"embeddings for 7 positions only: give --seq-len 7\.$"):
        made(tmp_path, sums_file)
    assert made(tmp_path, sums_file, seq_len=7).positions == 7


def test_rows_beyond_what_a_model_was_made_for_are_remarked(
    tmp_path: Path, sums_file: Path
) -> None:
    place = tiny_llama.directory(tmp_path / "short", max_position_embeddings=7)
    (remark,) = made(place, sums_file).remarks()
    assert remark.startswith("short was trained for 7 tokens, and the longest example has")
    assert remark.endswith("Give --seq-len 7 to stay within its context length.")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_cuda_that_is_absent_is_refused() -> None:
    with pytest.raises(UsageError, match="this PyTorch sees no CUDA device"):
        machine.choose_device("cuda")


def test_the_nearest_existing_directory_is_found(tmp_path: Path) -> None:
    assert plan.existing(tmp_path / "a" / "b") == tmp_path


def test_long_schedules_are_thinned_and_keep_their_ends() -> None:
    schedule = Schedule("cosine", 12_345, 1e-4, 100, 1e-5)
    rates = planned_rates(schedule)
    assert (rates["lr_steps"][0], rates["lr_steps"][-1]) == (1, 12_345)
    assert len(rates["lr"]) == len(rates["lr_steps"]) == 300
    assert rates["lr"][-1] == pytest.approx(1e-5)


def test_a_one_step_run_has_one_rate() -> None:
    assert planned_rates(Schedule("constant", 1, 1e-4))["lr"] == [1e-4]


def test_run_start_speaks_the_recipe_of_the_memory_model(model_dir: Path, sums_file: Path) -> None:
    planned = made(model_dir, sums_file)
    recipe = start_payload(planned, tiny_llama.model())["recipe"]
    assert (recipe["params"], recipe["compute"], recipe["optimizer"]) == ("fp32", "fp32", "adamw")
    assert recipe["seq_len"] == planned.heaviest.length


def test_a_configuration_with_relative_paths_is_anchored(
    sums_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sums_file.parent)
    config: TrainConfig = resolve({"model": "owner/name", "data": "sums.jsonl"})
    assert config.anchored().data == str(sums_file)
    assert config.anchored().model == "owner/name"

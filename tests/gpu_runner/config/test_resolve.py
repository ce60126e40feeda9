"""What is left out is filled in, and what is given is bounded."""

import pytest

from gpu_runner import demo
from gpu_runner.config.load import resolve
from gpu_runner.errors import UsageError


def test_the_demo_brings_its_own_recipe() -> None:
    config = resolve({"model": "demo"})
    assert (config.data, config.steps, config.lr) == ("demo", demo.RECIPE.steps, demo.RECIPE.lr)
    assert config.sample_prompts == demo.RECIPE.sample_prompts


def test_an_option_wins_over_the_demos_recipe() -> None:
    assert resolve({"model": "demo", "lr": 1e-4}).lr == 1e-4


def test_a_short_demo_shortens_its_warmup_too() -> None:
    assert resolve({"model": "demo", "steps": 3}).warmup == 3


def test_epochs_replace_the_demos_steps() -> None:
    config = resolve({"model": "demo", "epochs": 2.0})
    assert (config.steps, config.epochs) == (None, 2.0)


def test_without_a_length_a_run_is_one_epoch() -> None:
    assert resolve({"model": "m", "data": "d.jsonl"}).epochs == 1.0


def test_a_model_without_a_task_needs_data() -> None:
    with pytest.raises(UsageError, match=r"--data is missing.*--data instruct"):
        resolve({"model": "some/model"})


@pytest.mark.parametrize(
    ("processes", "options", "batch"),
    [
        ("1", {}, (4, 2)),
        ("2", {}, (4, 2)),
        ("4", {}, (2, 4)),  # as many sequences in a step as on one
        ("8", {}, (1, 8)),
        ("3", {}, (2, 3)),
        ("64", {}, (1, 64)),
        ("8", {"micro_batch": 4}, (4, 8)),
        ("8", {"grad_accum": 2}, (4, 2)),  # asked for: refused when the processes meet
        ("2", {"model": "demo", "data": None}, (demo.RECIPE.micro_batch // 2, 2)),
        ("0", {}, (4, 2)),
    ],
)
def test_what_is_left_out_can_be_shared_by_the_processes_of_a_run(
    processes: str,
    options: dict[str, object],
    batch: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", processes)
    config = resolve({"model": "m", "data": "d.jsonl", **options})
    assert (config.micro_batch, config.grad_accum) == batch


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": 0.0}, "--lr 0.0 is out of bounds: give a number from 1e-12 to 1"),
        ({"lr": float("nan")}, "--lr nan is out of bounds"),
        ({"micro_batch": 0}, "--micro-batch 0 is out of bounds"),
        ({"seq_len": 1}, "--seq-len 1 is out of bounds"),
        ({"schedule": "square"}, "--schedule 'square' is unknown: choose cosine or constant"),
        ({"params": "int8"}, "--params 'int8' is unknown"),
        ({"steps": 3, "epochs": 1.0}, "--steps 3 and --epochs 1.0 both set the length"),
        ({"steps": 3, "warmup": 4}, "--warmup 4 is longer than the run of 3 steps"),
        ({"params": "bf16", "compute": "fp32"}, "--compute fp32 with --params bf16"),
        ({"params": "bf16", "compute": "fp16"}, "--compute fp16 with --params bf16"),
        (
            {"compute": "fp16", "ewc": 1.0},
            "--compute fp16 with --ewc: whether a gradient overflows",
        ),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_bound(
    options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve({"model": "m", "data": "d.jsonl", **options})
    assert said in str(caught.value)

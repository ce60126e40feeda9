"""Settings that fit: cheapest first, and none that a run would refuse."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny_llama
from gpu_runner.config.load import parse_assignments, resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import BatchShape
from gpu_runner.memory import formula
from gpu_runner.memory.advice import format_advice, suggest_settings
from gpu_runner.memory.formula import predict
from gpu_runner.memory.prediction import Suggestion
from gpu_runner.plan import plan
from unfrozen.model import ModelConfig

LLAMA = ModelConfig.from_hf(
    tiny_llama.config(hidden_size=256, intermediate_size=688, num_hidden_layers=8).to_dict()
)
LONGEST = 512


def config(**choices: object) -> TrainConfig:
    given = {"model": "x", "data": "y", "micro_batch": 8, "grad_accum": 1, **choices}
    return resolve(given)


def cost(choice: TrainConfig) -> tuple[int, float]:
    """Return the peak of a packed micro-batch, and a time per token."""
    length = choice.micro_batch * min(choice.seq_len, LONGEST)
    parts = choice.grad_accum
    compute = "bf16" if choice.params == "bf16" else "fp32"
    compute = "fp16" if choice.compute == "fp16" else compute
    found = predict(LLAMA, choice, compute, BatchShape(1, length, length // 2, parts))
    return found.peak_bytes, {"none": 1.0, "selective": 1.1, "full": 1.3}[choice.checkpointing]


def found(budget_share: float, **choices: Any) -> list[Suggestion]:
    ranks, bf16 = choices.pop("ranks", 1), choices.pop("bf16", True)
    offloads = choices.pop("offloads", False)
    given = config(**choices)
    budget = round(budget_share * cost(given)[0])
    return suggest_settings(
        given, budget, cost, longest=LONGEST, ranks=ranks, bf16=bf16, offloads=offloads
    )


def read_back(base: TrainConfig, options: str) -> TrainConfig:
    """Return the config that typing the options gives."""
    words = options.split()
    pairs = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    typed = re.findall(r"--(?!set )([a-z-]+) (\S+)", options)
    more = parse_assignments(
        [*pairs, *(f"{name.replace('-', '_')}={value}" for name, value in typed)]
    )
    return resolve({**base.as_json(), **more})


def test_three_settings_fit_and_the_first_costs_no_time() -> None:
    suggested = found(0.8)
    assert len(suggested) == 3
    assert not [one for one in suggested if not one.fits]
    assert suggested[0].options == "--micro-batch 4 --grad-accum 2"
    assert suggested[0].time_ratio == 1.0


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5, 0.4])
def test_options_can_be_typed_and_have_the_predicted_peak(share: float) -> None:
    for one in found(share):
        peak, _ = cost(read_back(config(), one.options))
        assert one.peak_bytes == peak
        assert one.fits == (peak <= round(share * cost(config())[0]))


def test_a_gpu_may_leave_adamw_to_cpu_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formula, "on_gpu", lambda _: True)
    words = [one.options for one in found(0.4, micro_batch=1, checkpointing="full", offloads=True)]
    assert "--set optimizer_offload=true --params bf16" in words
    without = found(0.4, micro_batch=1, checkpointing="full")
    assert not [one for one in without if "offload" in one.options]


def test_several_changes_together_are_found_where_no_single_one_fits() -> None:
    floor = cost(config(micro_batch=1, grad_accum=8))[0]
    tight = 0.999 * floor / cost(config())[0]
    suggested = found(tight)
    assert suggested[0].fits
    assert len(re.findall("--", suggested[0].options)) > 2


def test_where_nothing_fits_the_suggestions_need_least() -> None:
    suggested = found(0.001)
    assert len(suggested) == 3
    assert not [one for one in suggested if one.fits]
    assert suggested == sorted(suggested, key=lambda one: one.peak_bytes)


def test_sequences_per_step_stay_the_same_and_divide_evenly() -> None:
    for one in found(0.6, micro_batch=6, grad_accum=2, ranks=2):
        choice = read_back(config(micro_batch=6, grad_accum=2), one.options)
        assert choice.micro_batch * choice.grad_accum == 12
        assert choice.grad_accum % 2 == 0


def test_sequences_are_cut_only_after_everything_else() -> None:
    suggested = found(0.5)
    assert "--seq-len" not in suggested[0].options
    cut = [one for one in suggested if "--seq-len" in one.options]
    assert not [one for one in cut if not one.note.endswith("longer sequences are cut")]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.9, 0.6, 0.3, 0.1, 0.001])
@pytest.mark.parametrize("choices", [{}, {"params": "bf16"}, {"compute": "bf16"}])
def test_bf16_weights_are_suggested_only_with_stochastic_rounding(
    share: float, choices: dict[str, object]
) -> None:
    for one in found(share, **choices):
        choice = read_back(config(**choices), one.options)
        assert choice.params == "fp32" or choice.rounding != "nearest"
        if choice.params == "bf16":
            assert choice.optimizer in ("adamw", "adafactor")


def test_fp16_is_suggested_where_a_gpu_has_no_bf16() -> None:
    several = [found(share, bf16=False) for share in (0.9, 0.6, 0.3, 0.05)]
    options = [one.options for some in several for one in some]
    assert any("--compute fp16" in one for one in options)
    assert not [one for one in options if "bf16" in one]
    assert not [one for one in found(0.05, bf16=False, compute="fp32") if "fp16" in one.options]


def test_an_update_within_the_backward_pass_is_not_advised_beside_accumulation() -> None:
    for share in (0.9, 0.5, 0.2):
        for one in found(share, grad_accum=2):
            assert "optimizer_in_backward" not in one.options


def test_a_run_is_predicted_with_its_own_examples(model_dir: Path, sums_file: Path) -> None:
    options = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    planned = plan.make_plan(resolve({**options, "micro_batch": 8, "grad_accum": 2}))
    assert planned.prediction is not None
    budget = round(0.97 * planned.prediction.peak_bytes)
    suggested = planned.predictor.suggest(planned.config, planned.heaviest, budget)
    assert suggested[0].fits
    fewer = plan.make_plan(read_back(planned.config, suggested[0].options))
    assert fewer.prediction is not None
    assert fewer.prediction.peak_bytes == suggested[0].peak_bytes


def test_an_unknown_model_type_has_no_suggestions(model_dir: Path, sums_file: Path) -> None:
    options = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    planned = plan.make_plan(resolve(options))
    unknown = replace(planned.predictor, shape=None)
    assert unknown.suggest(planned.config, planned.heaviest, 1) == []


def test_advice_is_one_sentence_with_options_peak_and_time() -> None:
    fitting = format_advice(found(0.7))
    assert re.match(
        r"Give --micro-batch \d+ --grad-accum \d+ \(predicted peak [\d.]+ MiB\)", fitting
    )
    assert re.search(r"; or .*\(predicted peak [\d.]+ MiB, \d+% more time\)", fitting)
    assert format_advice(found(0.001)).startswith("No combination of settings fits; these need")
    assert format_advice([]) == "Give a smaller --micro-batch or --seq-len."


def test_settings_in_use_are_not_suggested() -> None:
    assert "checkpointing" not in format_advice(found(0.3, checkpointing="full"))

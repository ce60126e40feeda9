"""What a step holds beside what was predicted, over combinations of everything a run can choose.

A subset of the grid that the memory model was held against: every optimizer, precision, rounding,
kind of checkpointing and family at least once, on one process and on two, where the activations
are what counts (4 rows) and where the weights are (1 row).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpu_runner.memory import formula
from gpu_runner.model import attention
from measured_steps import Case, Measured, measure, on_several
from unfrozen.job.optimizers import RUNNER_OPTIMIZERS

OTHERS = sorted({*RUNNER_OPTIMIZERS} - {"adamw8bit"})  # of 8 bits see test_eight_bit
WITHIN: dict[str, Any] = {"optimizer_in_backward": True, "clip": 0.0}
NARROW: dict[str, Any] = {"params": "bf16"}
TIED, UNTIED = {"tie_word_embeddings": True}, {"tie_word_embeddings": False}
WORDY = {"vocab_size": 4096}  # a head larger than all layers
WIDE = {"hidden_size": 128, "intermediate_size": 512, "head_dim": 32}

CHOICES: tuple[dict[str, Any], ...] = (
    {"checkpointing": "selective"},
    {"checkpointing": "selective", "compute": "bf16"},
    {"checkpointing": "selective", **NARROW},
    {"checkpointing": "full", **NARROW},
    {"optimizer": "adafactor", "checkpointing": "full", **NARROW, **WITHIN},
    {"optimizer": "adafactor", "rounding": "stochastic", **NARROW, **WITHIN},
    {"optimizer": "adafactor", "rounding": "kahan", **NARROW},
    {"rounding": "stochastic", **NARROW},
    {"rounding": "kahan", "checkpointing": "full", **NARROW, **WITHIN},
    {"optimizer": "muon", "checkpointing": "full", "fused": False, **NARROW, **WITHIN},
    *({"optimizer": name, "compute": "bf16"} for name in OTHERS),
    {"optimizer": "sgd", "momentum": 0.9, "compute": "bf16", "checkpointing": "full", **WITHIN},
    {"optimizer": "sgd", "fused": False, "checkpointing": "full", **WITHIN},
    {"ema": 0.999, "checkpointing": "selective"},
    {"ema": 0.999, "checkpointing": "selective", **NARROW},
    {"ema": 0.999, "optimizer": "sgd", **WITHIN},
    *({"optimizer_offload": True, **more} for more in ({}, NARROW, WITHIN, NARROW | WITHIN)),
    {"optimizer_offload": True, "checkpointing": "full", "grad_accum": 3, **NARROW},
)
ALONE = [
    Case({"micro_batch": rows, **choices}, sizes={**ends, "num_key_value_heads": heads})
    for choices in CHOICES
    for rows, ends, heads in ((1, TIED, 4), (1, UNTIED, 2), (4, UNTIED, 4))
] + [
    Case({"micro_batch": 4, "checkpointing": kind, **precision}, family)
    for family in ("qwen3", "gemma", "phi3", "gpt2", "olmo2", "mistral")
    for kind in ("full", "selective")
    for precision in ({}, {"compute": "bf16"})
]
ALONE += [
    Case({**precision, **more}, family)
    for family, precision in (("llama", {"compute": "fp16"}), ("gemma3", {}))
    for more in ({}, {"checkpointing": "full"})
]
LONG: dict[str, Any] = {"max_position_embeddings": 2048}
GROUPED = {"intermediate_size": 176}  # a grouped product in 16 bits takes rows of 16 bytes
WINDOWS = [
    Case({"micro_batch": 1, **choices}, family, {**LONG, "sliding_window": window}, longest=2048)
    for family, window in (
        ("mistral", 128),
        ("mistral", 512),
        ("gemma2", 256),
        ("gemma3_text", 128),
    )
    for choices in ({}, {"checkpointing": "full"})
] + [
    Case({"micro_batch": 4, **choices}, family)
    for family in ("mistral", "gemma2", "gemma3_text", "gpt_neox")
    for choices in (
        {"packing": False},
        {"compute": "bf16"},
        {"checkpointing": "selective"},
        {"checkpointing": "full", **NARROW},
    )
]
EXPERTS = [
    Case({"micro_batch": 4, **choices}, family, GROUPED if family == "mixtral" else {})
    for family in ("mixtral", "qwen2_moe", "qwen3_moe")
    for choices in (
        {"micro_batch": 1},
        {"micro_batch": 1, "optimizer": "muon"},
        {"micro_batch": 1, "optimizer": "muon", **NARROW},
        {"micro_batch": 1, "optimizer": "adafactor"},
        {"optimizer": "sgd", "compute": "bf16"},
        {"checkpointing": "selective"},
        {"router_balance": 0.01},
        {"router_balance": 0.01, "micro_batch": 1, "compute": "bf16"},
        {"router_balance": 0.01, "checkpointing": "selective"},
        {"router_balance": 0.01, "checkpointing": "full", **NARROW},
        {"checkpointing": "full", **NARROW},
        {"checkpointing": "full", "compute": "bf16"},
        {"checkpointing": "full", "compute": "bf16", "optimizer": "sgd", "grad_accum": 4},
    )
]
COMPILED = [
    Case({"compile": True, **choices}, family)
    for family in ("llama", "mistral")
    for choices in ({}, {"packing": False}, {"checkpointing": "full", "compute": "bf16"})
]
TOGETHER = [
    Case({"micro_batch": rows, **choices}, sizes={**sizes, **ends})
    for sizes, rows in ((WORDY, 1), (WIDE, 1), (WIDE, 4))
    for ends in (TIED, UNTIED)
    for choices in (
        {"checkpointing": "full", "compute": "bf16"},
        {"checkpointing": "full", "compute": "bf16", **WITHIN},
        {"checkpointing": "selective", "grad_accum": 4},
        {"optimizer": "adafactor", "checkpointing": "full", "compute": "bf16"},
        {"rounding": "stochastic", **NARROW},
        {"optimizer_offload": True, "checkpointing": "full", **NARROW},
    )
]


def in_this_run(cases: list[Case], request: pytest.FixtureRequest, each: int) -> list[Case]:
    """All cases with `--all`, twice as deep: among so many, a few lie above what shallow ones show.

    Else one of `each`: strides that meet every choice and family.
    """
    if not request.config.option.all:
        return cases[::each]
    layers = {"gpt2": "n_layer"}
    return [
        replace(one, sizes={layers.get(one.family, "num_hidden_layers"): 4, **one.sizes})
        for one in cases
    ]


def worst(cases: list[Case], found: list[Measured]) -> str:
    """The ten that are furthest off, in words."""
    pairs = sorted(zip(cases, found, strict=True), key=lambda pair: -abs(pair[1].error))
    lines = [f"{one.error:+.1%}  {case}" for case, one in pairs[:10]]
    return "\n".join(["the worst ten:", *lines])


@pytest.mark.slow
def test_one_process_holds_what_was_predicted_whatever_it_chooses(
    request: pytest.FixtureRequest,
) -> None:
    cases = in_this_run(ALONE, request, 4)
    found = [measure(case) for case in cases]
    assert max(abs(one.error) for one in found) <= 0.03, worst(cases, found)
    assert len(found) > 15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.parametrize(
    "cases", [WINDOWS, EXPERTS, COMPILED], ids=["windows", "experts", "compiled"]
)
def test_windows_experts_and_filled_shapes_hold_what_was_predicted(
    cases: list[Case], request: pytest.FixtureRequest
) -> None:
    cases = in_this_run(cases, request, 5)
    found = [measure(case) for case in cases]
    assert max(abs(one.error) for one in found) <= 0.03, worst(cases, found)
    assert len(found) > 1


@pytest.mark.slow
def test_two_processes_hold_what_was_predicted_whatever_they_choose(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cases = in_this_run(TOGETHER, request, 7)
    found = on_several(cases, tmp_path)
    assert max(abs(one.error) for one in found) <= 0.03, worst(cases, found)
    assert len(found) > 4
    for case, one in zip(cases, found, strict=True):
        kept = one.predicted["optimizer_step"].get("moments", 0)
        # what is whole on every GPU and what is sharded, to a row that does not divide
        assert one.instants["optimizer_step"].get("moments", 0) == pytest.approx(kept, rel=1e-3), (
            case
        )


FP32_ON_GPU = [
    Case({"micro_batch": rows, **choices}, sizes={"num_key_value_heads": heads}, longest=400)
    for rows, heads in ((1, 2), (4, 2), (1, 1), (4, 4))
    for choices in ({}, {"packing": False}, {"checkpointing": "full"}, {"fused": False})
    if rows > 1 or choices != {"packing": False}  # a CPU lays the output out as a row's q
]


@pytest.mark.slow
def test_fp32_on_a_gpu_holds_what_was_predicted_with_groups_of_heads(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's way through attention, on a CPU: its kernel saves what the memory-efficient one does,
    q, k, v, output and a number a row."""
    monkeypatch.setattr(attention, "_on_gpu", lambda _: True)
    monkeypatch.setattr(formula, "on_gpu", lambda _: True)
    cases = in_this_run(FP32_ON_GPU, request, 5)
    found = [measure(case) for case in cases]
    assert max(abs(one.error) for one in found) <= 0.03, worst(cases, found)

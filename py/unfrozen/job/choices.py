"""What each key of a recipe may be, on its own; `unfrozen.job.recipe` asks what goes together."""

from __future__ import annotations

from typing import Final

from unfrozen.errors import PlanError

LOW_BITS: Final = ("fp8", "mxfp8", "nvfp4", "int8")
"""Precisions of products alone: they read 16-bit tensors, cast them there and answer in 16 bits, as
torchao does it: float8 (torchao/float8/float8_linear.py), mxfp8 and nvfp4 (torchao/prototype) and
int8 (torchao/prototype/quantized_training/int8_mixed_precision.py)."""
BYTES: Final[dict[str, int]] = {"fp32": 4, "bf16": 2, "fp16": 2} | dict.fromkeys(LOW_BITS, 2)
"""Bytes of one number in each precision; products of few bits read, and keep, 16-bit tensors."""

CHOICES: Final[dict[str, tuple[object, ...]]] = {
    "method": ("full", "lora", "qlora", "lisa"),
    "params": ("fp32", "bf16", "fp16"),
    "compute": ("bf16", "fp16", "fp32", *LOW_BITS),
    "master": (None, "fp32"),
    "grads": ("fp32", "bf16", "fp16"),
    "reduce": (None, "fp32", "bf16", "fp16"),
    "optimizer": (
        *("adamw", "sgd", "sgd_momentum", "adafactor", "lion", "muon", "lomo"),
        *("galore", "apollo"),
    ),
    "moments": ("fp32", "bf16", "int8", "int4", None),
    "paged": (False, True),
    "optimizer_in_backward": (False, True),
    "no_sync": (False, True),
    "grad_buckets": (None, False, True),
    "step": ("fused", "foreach", "for_loop", "rows", "sub_groups"),
    "attention": ("flash", "sdpa", "sdpa_masked", "eager"),
    "kernels": ("eager", "fused", "fused_block"),
    "whole_compile": (False, True),
    "checkpointing": ("none", "selective", "full"),
    "activation_offload": (False, True),
    "loss": (
        "logits_fp32",
        "logits_bf16",
        "chunked",
        "fused_linear",
        "fused_vocab",
        "linear",
        "vocab_parallel",
        "loss_parallel",
        "classification",
    ),
    "router_held": (False, True),
    "frozen_tower": (False, True),
    "experts_cast": (False, True),
    "compiled_loss": (None, False, True),
    "keeps_outputs": (False, True),
    "base": (None, "nf4", "nf4-dq", "int8"),
    "zero_in_place": (None, False, True),
    "packed": (False, True),
    "rounding": ("nearest", "stochastic", "kahan"),
}
SIZES: Final = {
    "micro_batch": 65_536,
    "seq_len": 16_777_216,
    "grad_accum": 1_000_000,
    "checkpoint_every": 10_000,
}
MOST_RANK: Final = 65_536
MOST_PADDING: Final = 1_000
MAY_BE_NONE: Final = {"projection_rank": MOST_RANK, "lisa_layers": 10_000}
"""Whole numbers that a recipe may leave out, and the most they may be."""
HAS_MOMENTS: Final = ("adamw", "sgd_momentum", "lion", "muon", "galore", "apollo")
PROJECTED: Final = ("galore", "apollo")
"""Optimizers whose moments of a matrix live in a space of lower rank."""


def check(key: str, value: object) -> None:
    """Refuse a value that no recipe can have under this key, `lora` apart; raises PlanError."""
    name = f"recipe.{key}"
    if key in SIZES or (key in MAY_BE_NONE and value is not None):
        most = SIZES.get(key) or MAY_BE_NONE[key]
        if type(value) is not int or not 1 <= value <= most:
            bound = f"it must be a whole number in 1 … {most:,}"
            raise PlanError(name, value, bound, "correct it")
    elif key == "dropout":
        if value is not None and not _real_within(value, 0, 1):
            raise PlanError(name, value, "it must be at least 0 and below 1", "correct it")
    elif key == "expert_padding":
        good = value in (None, "fullest") or _real_within(value, 1, MOST_PADDING)
        if not good:
            bound = f'it must be null, "fullest" or a number from 1 to below {MOST_PADDING:,}'
            raise PlanError(name, value, bound, "correct it")
    # True == 1 in Python: compare types too
    elif key in CHOICES and not any(
        value == choice and type(value) is type(choice) for choice in CHOICES[key]
    ):
        raise PlanError(name, value, f"it must be one of {join(CHOICES[key])}", "choose one")


def join(values: object) -> str:
    """Choices as a reader sees them in JSON."""
    return ", ".join("null" if value is None else str(value).lower() for value in values)  # type: ignore[attr-defined]


def _real_within(value: object, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value < high  # type: ignore[operator]

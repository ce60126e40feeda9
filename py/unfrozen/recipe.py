"""How a model is trained: precisions, optimizer, batch, kernels; the `recipe` part of a job.

Defaults are the classic mixed-precision recipe (2 + 2 + 12 bytes a parameter). `params: "fp32",
compute: "bf16"` is autocast; `params: "bf16", master: "fp32"` the classic one; `params: "bf16",
master: null` pure bf16. What cannot be planned yet is refused by name, never planned wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, cast

from unfrozen.errors import PlanError

BYTES: Final[dict[str, int]] = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes of one number in each precision."""

_CHOICES: Final[dict[str, tuple[object, ...]]] = {
    "method": ("full", "lora", "qlora"),
    "params": ("fp32", "bf16", "fp16"),
    "compute": ("bf16", "fp16", "fp32", "fp8"),
    "master": (None, "fp32"),
    "grads": ("fp32", "bf16", "fp16"),
    "optimizer": ("adamw", "sgd", "sgd_momentum", "adafactor", "lion", "muon", "lomo"),
    "moments": ("fp32", "bf16", "int8", None),
    "paged": (False, True),
    "optimizer_in_backward": (False, True),
    "step": ("fused", "foreach", "for_loop"),
    "attention": ("flash", "sdpa", "sdpa_masked", "eager"),
    "kernels": ("eager", "fused"),
    "checkpointing": ("none", "selective", "full"),
    "activation_offload": (False, True),
    "loss": (
        "logits_fp32",
        "logits_bf16",
        "chunked",
        "fused_linear",
        "vocab_parallel",
        "classification",
    ),
    "base": (None, "nf4", "nf4-dq", "int8"),
}
_SIZES: Final = {"micro_batch": 65_536, "seq_len": 16_777_216, "grad_accum": 1_000_000}
_UNPLANNED: Final[dict[str, tuple[object, ...]]] = {
    "method": ("lora", "qlora"),
    "compute": ("fp8",),
    "optimizer": ("muon", "lomo"),
    "paged": (True,),
    "optimizer_in_backward": (True,),
    "checkpointing": ("selective",),
    "activation_offload": (True,),
    "loss": ("chunked", "fused_linear", "vocab_parallel", "classification"),
    "base": ("nf4", "nf4-dq", "int8"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train. Every field is a key of the job's `recipe`; defaults are those below.

    params        precision of the weights the forward pass reads
    compute       precision of the matrix products; default: that of the weights, bf16 for fp32
    master        "fp32" keeps a second, exact copy for the optimizer; default for 16-bit weights
    grads         precision of the gradients; default: that of the weights
    optimizer     adamw, sgd, sgd_momentum, adafactor or lion
    moments       precision of the optimizer's moments; default fp32, or that of the weights where
                  there is no master copy
    step          fused updates in place, foreach makes lists of temporaries, for_loop one tensor's
    micro_batch   sequences that go through the model at once
    seq_len       tokens of each
    grad_accum    micro-batches before a step; with more than one the gradients outlive the forward
    attention     flash takes no mask (rows without padding, or FlashAttention itself); sdpa is what
                  transformers runs on padded rows: a mask of truth values that every layer casts,
                  keys and values repeated for every head; sdpa_masked shares one mask in the
                  compute precision; eager builds the score matrix
    kernels       eager, or fused (torch.compile, Liger, Transformer Engine)
    checkpointing none, or full (each layer is recomputed in the backward pass)
    loss          cross-entropy from whole logits, upcast to fp32 (logits_fp32) or not
    """

    method: str = "full"
    params: str = "bf16"
    compute: str = "bf16"
    master: str | None = "fp32"
    grads: str = "bf16"
    optimizer: str = "adamw"
    moments: str | None = "fp32"
    paged: bool = False
    optimizer_in_backward: bool = False
    step: str = "fused"
    micro_batch: int = 1
    seq_len: int = 2048
    grad_accum: int = 1
    attention: str = "sdpa"
    kernels: str = "eager"
    checkpointing: str = "none"
    activation_offload: bool = False
    dropout: float = 0.0
    loss: str = "logits_fp32"
    lora: None = None
    base: str | None = None

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch, T = s · b."""
        return self.micro_batch * self.seq_len

    @classmethod
    def read(cls, given: object) -> Recipe:
        """The recipe of a job, defaults filled in; raises PlanError for what cannot be planned."""
        if not isinstance(given, Mapping):
            raise PlanError("recipe", given, "it must be an object", "give {} for the defaults")
        known = {field.name for field in fields(cls)}
        for key, value in given.items():
            if key not in known:
                raise PlanError(f"recipe.{key}", value, f"known keys are {_join(known)}", "drop it")
            _check(key, value)
        recipe = cls(**{**_defaults(given), **given})
        _check_together(recipe)
        return recipe


def _defaults(given: Mapping[str, object]) -> dict[str, object]:
    """The defaults that follow from other keys; see `Recipe`."""
    params = cast(str, given.get("params", "bf16"))
    optimizer = given.get("optimizer", "adamw")
    master = given.get("master", None if params == "fp32" else "fp32")
    exact = params == "fp32" or master == "fp32"
    has_moments = optimizer in ("adamw", "sgd_momentum", "lion")
    return {
        "compute": "bf16" if params == "fp32" else params,
        "master": master,
        "grads": params,
        "moments": ("fp32" if exact else params) if has_moments else None,
    }


def _check(key: str, value: object) -> None:
    name = f"recipe.{key}"
    if key in _SIZES:
        good = type(value) is int and 1 <= value <= _SIZES[key]
        if not good:
            bound = f"it must be a whole number in 1 … {_SIZES[key]:,}"
            raise PlanError(name, value, bound, "correct it")
    elif key == "dropout":
        if type(value) not in (int, float) or value != 0:
            raise PlanError(name, value, "dropout is not planned yet", "set it to 0")
    elif key == "lora":
        if value is not None:
            raise PlanError(name, value, "adapters are not planned yet", "drop this key")
    else:
        # True == 1 in Python: compare types too
        if not any(value == choice and type(value) is type(choice) for choice in _CHOICES[key]):
            raise PlanError(name, value, f"it must be one of {_join(_CHOICES[key])}", "choose one")
        if value in _UNPLANNED.get(key, ()):
            planned = [choice for choice in _CHOICES[key] if choice not in _UNPLANNED[key]]
            raise PlanError(name, value, "it is not planned yet", f"use {_join(planned)}")


def _check_together(recipe: Recipe) -> None:
    stateless = recipe.optimizer in ("sgd", "adafactor")
    if recipe.master and recipe.params == "fp32":
        bound = "fp32 weights are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")
    if stateless and recipe.moments is not None:
        bound = f"{recipe.optimizer} keeps no moments"
        raise PlanError("recipe.moments", recipe.moments, bound, "set it to null")
    if not stateless and recipe.moments is None:
        bound = f"{recipe.optimizer} keeps moments"
        raise PlanError("recipe.moments", None, bound, "choose fp32, bf16 or int8")
    if recipe.params != "fp32" and recipe.compute != recipe.params:
        bound = f"16-bit weights compute in their own precision, {recipe.params}"
        raise PlanError(
            "recipe.compute", recipe.compute, bound, "set it to that, or params to fp32"
        )


def _join(values: object) -> str:
    shown = sorted(values) if isinstance(values, set) else values
    return ", ".join("null" if value is None else str(value).lower() for value in shown)  # type: ignore[attr-defined]

"""How a model is trained: precisions, optimizer, batch, kernels; the `recipe` part of a job.

Defaults are the classic mixed-precision recipe (2 + 2 + 12 bytes a parameter). `params: "fp32",
compute: "bf16"` is autocast; `params: "bf16", master: "fp32"` the classic one; `params: "bf16",
master: null` pure bf16. Wrong values are refused by name, with the bound and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final, cast

from unfrozen.errors import PlanError

BYTES: Final[dict[str, int]] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 2}
"""Bytes of one number in each precision; fp8 products read 16-bit tensors and cast them there."""

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
    "step": ("fused", "foreach", "for_loop", "rows"),
    "attention": ("flash", "sdpa", "sdpa_masked", "eager"),
    "kernels": ("eager", "fused", "fused_block"),
    "checkpointing": ("none", "selective", "full"),
    "activation_offload": (False, True),
    "loss": (
        "logits_fp32",
        "logits_bf16",
        "chunked",
        "fused_linear",
        "linear",
        "vocab_parallel",
        "classification",
    ),
    "base": (None, "nf4", "nf4-dq", "int8"),
    "zero_in_place": (None, False, True),
    "packed": (False, True),
    "rounding": ("nearest", "stochastic", "kahan"),
}
MOST_RANK: Final = 65_536
_HAS_MOMENTS: Final = ("adamw", "sgd_momentum", "lion", "muon")
_SIZES: Final = {"micro_batch": 65_536, "seq_len": 16_777_216, "grad_accum": 1_000_000}


@dataclass(frozen=True, slots=True)
class Lora:
    """Adapters: two thin matrices beside each target, rank · (in + out) parameters together.

    rank     inner width
    dtype    precision of the adapters; a wider one than that of the weights casts their inputs
    targets  names of linear layers as transformers gives them, or "all-linear"
    library  litgpt, whose published measurements the model is tested on: one product for q, k and
             v, a dropout before each adapter, outputs scattered into the product; or peft
             without dropout, where each adapter reads the layer's own input
    """

    rank: int = 16
    dtype: str = "bf16"
    targets: tuple[str, ...] = ("all-linear",)
    library: str = "litgpt"

    @classmethod
    def read(cls, given: object) -> Lora:
        """The adapters of a recipe; raises PlanError. Whether targets exist is for the model."""
        if isinstance(given, Lora):
            return given
        if not isinstance(given, Mapping):
            raise PlanError("recipe.lora", given, "it must be an object", 'give {"rank": 16}')
        known = [field.name for field in fields(cls)]
        for key, value in given.items():
            if key not in known:
                raise PlanError(
                    f"recipe.lora.{key}", value, f"known keys are {_join(known)}", "drop it"
                )
        rank, dtype = given.get("rank", 16), given.get("dtype", "bf16")
        targets = given.get("targets", ["all-linear"])
        if type(rank) is not int or not 1 <= rank <= MOST_RANK:
            bound = f"it must be a whole number in 1 … {MOST_RANK:,}"
            raise PlanError("recipe.lora.rank", rank, bound, "correct it")
        if dtype not in ("fp32", "bf16", "fp16"):
            bound = "it must be one of fp32, bf16, fp16"
            raise PlanError("recipe.lora.dtype", dtype, bound, "choose one")
        library = given.get("library", "litgpt")
        if library not in ("litgpt", "peft"):
            bound = "it must be one of litgpt, peft"
            raise PlanError("recipe.lora.library", library, bound, "choose one")
        names = [targets] if isinstance(targets, str) else targets
        good = isinstance(names, (list, tuple)) and names and all(type(n) is str for n in names)
        if not good:
            bound = "it must be a list of names of linear layers"
            raise PlanError("recipe.lora.targets", targets, bound, 'give ["all-linear"]')
        return cls(rank, dtype, tuple(names), library)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train. Every field is a key of the job's `recipe`; defaults are those below.

    method        full; lora trains adapters beside frozen weights; qlora quantises those too
    params        precision of the weights the forward pass reads
    compute       precision of the matrix products; default: that of the weights, bf16 for fp32
    master        "fp32" keeps a second, exact copy for the optimizer; default for 16-bit weights
                  that train
    grads         precision of the gradients; default: that of the weights that train
    optimizer     adamw, sgd, sgd_momentum, adafactor, lion, muon (AdamW for what is outside the
                  layers and no matrix) or lomo (SGD inside the backward pass)
    moments       precision of the optimizer's moments; default fp32, or that of the weights that
                  train where there is no master copy
    paged         moments wait in the memory of the host
    optimizer_in_backward  each tensor is updated, and its gradient freed, as soon as it is known
    step          fused updates in place; foreach makes lists of temporaries, for_loop one tensor's,
                  rows those of some rows (`gpu_runner`)
    micro_batch   sequences that go through the model at once, each of seq_len tokens
    grad_accum    micro-batches before a step; with more than one the gradients outlive the forward
    attention     flash takes no mask (rows without padding, or FlashAttention itself); sdpa is what
                  transformers runs on padded rows: a mask of truth values that every layer casts,
                  keys and values repeated for every head; sdpa_masked shares one mask in the
                  compute precision; eager builds the score matrix
    kernels       eager, or fused (torch.compile, Liger, Transformer Engine), or fused_block: norms
                  and gated feed-forward part in one operation with their products, as in Unsloth
                  and `gpu_runner`
    checkpointing none; full recomputes each layer in the backward pass; selective recomputes the
                  scores of eager attention, else every second matrix product and all that is cheap
    activation_offload  what layers keep waits in the memory of the host
    dropout       probability; default: what the model's config says
    loss          cross-entropy from whole logits, upcast to fp32 (logits_fp32) or not; chunked
                  keeps 16-bit logits and upcasts a chunk; fused_linear never builds them, nor
                  does linear (by 256 tokens); vocab_parallel spreads them over tensor-parallel
                  ranks; classification has none
    lora          {"rank", "dtype", "targets"}; see `Lora`
    base          precision of the frozen linear layers under qlora: nf4, nf4-dq (scales quantised
                  as well) or int8
    zero_in_place gradients are zeroed after a step instead of freed, PyTorch's habit before 2.0;
                  default no, but for BERT, whose published measurements are of that time
    packed        documents share a sequence, of whose attention no output is copied (`gpu_runner`)
    rounding      of updates of 16-bit weights without a master copy, by AdamW and Adafactor:
                  stochastic, or kahan, which keeps what was rounded away in 16 more bits
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
    dropout: float | None = None
    loss: str = "logits_fp32"
    lora: Lora | None = None
    base: str | None = None
    zero_in_place: bool | None = None
    packed: bool = False
    rounding: str = "nearest"

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch, T = s · b."""
        return self.micro_batch * self.seq_len

    @property
    def early_update(self) -> bool:
        """Whether tensors are updated during the backward pass."""
        return self.optimizer_in_backward or self.optimizer == "lomo"

    @property
    def rounds(self) -> bool:
        """Whether updates are rounded in another way than to the nearest 16-bit number."""
        narrow = self.master is None and self.params != "fp32" and self.lora is None
        return narrow and self.rounding != "nearest" and self.optimizer in ("adamw", "adafactor")

    def resident_grads(self, encoder: bool = False) -> bool:
        """Whether gradients live through the forward pass: earlier micro-batches left them there,
        they are zeroed in place, or they are summed in a wider buffer that is never given back
        (Megatron's main gradients).
        """
        zeroed = encoder if self.zero_in_place is None else self.zero_in_place
        return self.grad_accum > 1 or zeroed or BYTES[self.grads] > BYTES[self.params]

    def as_json(self) -> dict[str, object]:
        """Plain data that `read` takes back."""
        return asdict(self)

    @classmethod
    def read(cls, given: object) -> Recipe:
        """The recipe of a job, defaults filled in; raises PlanError for what cannot be planned."""
        if not isinstance(given, Mapping):
            raise PlanError("recipe", given, "it must be an object", "give {} for the defaults")
        for key, value in given.items():
            if key not in _KNOWN:
                bound = f"known keys are {_join(sorted(_KNOWN))}"
                raise PlanError(f"recipe.{key}", value, bound, "drop it")
            _check(key, value)
        values = {**_defaults(given), **given}
        if values.get("lora") is not None:
            values["lora"] = Lora.read(values["lora"])
        recipe = cls(**values)
        _check_together(recipe)
        return recipe


_KNOWN: Final = frozenset(field.name for field in fields(Recipe))


def _defaults(given: Mapping[str, object]) -> dict[str, object]:
    """The defaults that follow from other keys; see `Recipe`."""
    params = cast(str, given.get("params", "bf16"))
    method = given.get("method", "full")
    optimizer = given.get("optimizer", "adamw")
    trained = params
    lora: object = None
    if method != "full":
        lora = Lora.read(given.get("lora") or {})
        trained = lora.dtype
    lomo = optimizer == "lomo"
    master = given.get("master", None if trained == "fp32" or lora or lomo else "fp32")
    exact = trained == "fp32" or master == "fp32"
    return {
        "compute": "bf16" if params == "fp32" else params,
        "master": master,
        "grads": trained,
        "moments": ("fp32" if exact else trained) if optimizer in _HAS_MOMENTS else None,
        "lora": lora,
        "base": "nf4" if method == "qlora" else None,
    }


def _check(key: str, value: object) -> None:
    name = f"recipe.{key}"
    if key in _SIZES:
        if type(value) is not int or not 1 <= value <= _SIZES[key]:
            bound = f"it must be a whole number in 1 … {_SIZES[key]:,}"
            raise PlanError(name, value, bound, "correct it")
    elif key == "dropout":
        good = value is None or (type(value) in (int, float) and 0 <= value < 1)  # type: ignore[operator]
        if not good:
            raise PlanError(name, value, "it must be at least 0 and below 1", "correct it")
    elif key == "lora":
        if value is not None:
            Lora.read(value)
    # True == 1 in Python: compare types too
    elif not any(value == choice and type(value) is type(choice) for choice in _CHOICES[key]):
        raise PlanError(name, value, f"it must be one of {_join(_CHOICES[key])}", "choose one")


def _check_together(recipe: Recipe) -> None:
    has_moments = recipe.optimizer in _HAS_MOMENTS
    if recipe.master and recipe.params == "fp32":
        bound = "fp32 weights are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")
    if not has_moments and recipe.moments is not None:
        bound = f"{recipe.optimizer} keeps no moments"
        raise PlanError("recipe.moments", recipe.moments, bound, "set it to null")
    if has_moments and recipe.moments is None:
        bound = f"{recipe.optimizer} keeps moments"
        raise PlanError("recipe.moments", None, bound, "choose fp32, bf16 or int8")
    if recipe.params != "fp32" and recipe.compute not in (recipe.params, "fp8"):
        bound = f"16-bit weights compute in their own precision, {recipe.params}, or in fp8"
        remedy = f"set it to {recipe.params}, or params to fp32"
        raise PlanError("recipe.compute", recipe.compute, bound, remedy)
    if recipe.early_update and recipe.grad_accum > 1:
        bound = "tensors that are updated during the backward pass cannot wait for more gradients"
        raise PlanError("recipe.grad_accum", recipe.grad_accum, bound, "set it to 1")
    _check_adapters(recipe)


def _check_adapters(recipe: Recipe) -> None:
    if recipe.method == "full" and recipe.lora is not None:
        bound = "full fine-tuning has no adapters"
        raise PlanError("recipe.lora", recipe.lora.rank, bound, "drop it, or set method to lora")
    if recipe.method != "qlora" and recipe.base is not None:
        bound = "only the frozen weights of qlora are quantised"
        raise PlanError("recipe.base", recipe.base, bound, "drop it, or set method to qlora")
    if recipe.method == "qlora" and recipe.base is None:
        bound = "qlora quantises the frozen weights"
        raise PlanError("recipe.base", None, bound, "choose nf4, nf4-dq or int8")
    if recipe.lora and recipe.lora.dtype == "fp32" and recipe.master is not None:
        bound = "fp32 adapters are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")


def _join(values: object) -> str:
    return ", ".join("null" if value is None else str(value).lower() for value in values)  # type: ignore[attr-defined]

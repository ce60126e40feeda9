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
from unfrozen.job.choices import BYTES, HAS_MOMENTS, LOW_BITS, PROJECTED, check, join
from unfrozen.job.lora import Lora

__all__ = ["BYTES", "Lora", "Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train. Every field is a key of the job's `recipe`; defaults are those below.

    method        full; lora trains adapters beside frozen weights; qlora quantises those too; lisa
                  trains what is outside the layers and some layers at a time
    params        precision of the weights the forward pass reads; under qlora those that are not
                  quantised: fp32 after PEFT's prepare_model_for_kbit_training
    compute       precision of the matrix products; default: that of the weights, bf16 for fp32
    master        "fp32" keeps a second, exact copy for the optimizer; default for 16-bit weights
                  that train
    grads         precision of the gradients; default: that of the weights that train
    reduce        precision in which sharded gradients are summed (FSDP's `reduce_dtype`); default:
                  that of the gradients, fp32 under `cluster.outer_apart`
    optimizer     adamw, sgd, sgd_momentum, adafactor, lion, muon (AdamW for what is outside the
                  layers and no matrix), lomo (SGD inside the backward pass), galore and apollo
                  (AdamW, of the layers' matrices in a space of lower rank)
    projection_rank  that rank; default 128, GaLore's own
    moments       precision of the optimizer's moments; default fp32, or that of the weights that
                  train where there is no master copy
    paged         moments wait in the memory of the host
    optimizer_in_backward  each tensor is updated, and its gradient freed, as soon as it is known
    no_sync       gradients of all micro-batches but the last are not summed over cards, and stay
                  whole where they are sharded
    grad_buckets  PyTorch's DDP keeps gradients a second time, in the buckets it sums; default: with
                  several whole copies of the model. False: gradient_as_bucket_view, Megatron
    step          fused updates in place; foreach makes lists of temporaries, for_loop one tensor's,
                  rows those of some rows (`gpu_runner`), sub_groups the fp32 gradients of 10⁹
                  weights (DeepSpeed's stage 3)
    micro_batch   sequences that go through the model at once, each of seq_len tokens
    grad_accum    micro-batches before a step; with more than one the gradients outlive the forward
    attention     flash takes no mask (rows without padding, or FlashAttention itself); sdpa is what
                  transformers runs on padded rows: a mask of truth values that every layer casts,
                  keys and values repeated for every head; sdpa_masked shares one mask in the
                  compute precision; eager builds the score matrix
    kernels       eager, or fused (torch.compile, Liger, Transformer Engine), or fused_block: norms
                  and gated feed-forward part in one operation with their products, as in Unsloth
                  and `gpu_runner`
    whole_compile the model is compiled as one: its backward pass answers with all gradients at once
    checkpointing none; full recomputes each layer in the backward pass; selective recomputes the
                  scores of eager attention, else every second matrix product and all that is cheap
    checkpoint_every  only each so manieth layer is recomputed
    activation_offload  what layers keep waits in the memory of the host
    expert_padding  null: experts take the tokens they are sent; "fullest": each is padded to the
                  fullest, at worst to all tokens; a number: each has so many times its even share
                  of places, and drops the rest
    router_held   routers keep their auxiliary loss by name: what leads to it is held, once a layer
                  is made again, until the next forward pass
    experts_cast  under autocast experts compute in `compute`, of fp32 weights that are cast at each
                  use (`gpu_runner`); else in the precision of their weights (transformers)
    frozen_tower  what sees pictures, and joins them to the model, does not train: of it weights are
                  there, as wide as the others, and nothing else
    dropout       probability; default: what the model's config says
    loss          cross-entropy from whole logits, upcast to fp32 (logits_fp32) or not; chunked
                  keeps 16-bit logits and upcasts a chunk; fused_linear never builds them, nor
                  does linear (by 256 tokens), nor fused_vocab (by 2048 words); vocab_parallel
                  spreads them over tensor-parallel ranks, as loss_parallel (PyTorch's) does;
                  classification has none
    compiled_loss whether the loss is compiled; default: where kernels are fused
    keeps_outputs the caller holds the logits through the backward pass
    lora          {"rank", "dtype", "targets", …}; see `Lora`
    lisa_layers   how many layers train at a time under lisa; default 2
    base          precision of the frozen linear layers under qlora: nf4, nf4-dq (scales quantised
                  as well) or int8; int8 also where all weights train (torchao, Q-GaLore)
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
    reduce: str | None = None
    optimizer: str = "adamw"
    projection_rank: int | None = None
    moments: str | None = "fp32"
    paged: bool = False
    optimizer_in_backward: bool = False
    no_sync: bool = False
    grad_buckets: bool | None = None
    step: str = "fused"
    micro_batch: int = 1
    seq_len: int = 2048
    grad_accum: int = 1
    attention: str = "sdpa"
    kernels: str = "eager"
    whole_compile: bool = False
    checkpointing: str = "none"
    checkpoint_every: int = 1
    activation_offload: bool = False
    expert_padding: str | float | None = None
    router_held: bool = False
    experts_cast: bool = False
    frozen_tower: bool = False
    dropout: float | None = None
    loss: str = "logits_fp32"
    compiled_loss: bool | None = None
    keeps_outputs: bool = False
    lora: Lora | None = None
    lisa_layers: int | None = None
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
    def loss_compiled(self) -> bool:
        """Whether the loss is one kernel."""
        return self.kernels == "fused" if self.compiled_loss is None else self.compiled_loss

    @property
    def accumulates_whole(self) -> bool:
        """Whether gradients of earlier micro-batches wait whole, not summed over cards."""
        return self.no_sync and self.grad_accum > 1 and self.lora is None

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
        trained = self.lora.dtype if self.lora else self.params
        return self.grad_accum > 1 or zeroed or BYTES[self.grads] > BYTES[trained]

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
                bound = f"known keys are {join(sorted(_KNOWN))}"
                raise PlanError(f"recipe.{key}", value, bound, "drop it")
            if key != "lora":
                check(key, value)
        values = {**_defaults(given), **given}
        if values.get("lora") is not None:
            values["lora"] = Lora.read(values["lora"])
        recipe = cls(**values)
        _check_together(recipe)
        return recipe


DEFAULT_RANK: Final = 128
"""Of GaLore's own examples (jiaweizzhao/GaLore, README: rank 128)."""
DEFAULT_LISA: Final = 2
"""Layers at a time, of the paper's smaller setting (Pan et al., arXiv 2403.17919, table 1)."""
_KNOWN: Final = frozenset(field.name for field in fields(Recipe))


def _defaults(given: Mapping[str, object]) -> dict[str, object]:
    """The defaults that follow from other keys; see `Recipe`."""
    params = cast(str, given.get("params", "bf16"))
    method = given.get("method", "full")
    optimizer = given.get("optimizer", "adamw")
    trained = params
    lora: object = None
    if method in ("lora", "qlora"):
        lora = Lora.read(given.get("lora") or {})
        trained = lora.dtype
    lomo = optimizer == "lomo"
    master = given.get("master", None if trained == "fp32" or lora or lomo else "fp32")
    exact = trained == "fp32" or master == "fp32"
    return {
        "compute": "bf16" if params == "fp32" else params,
        "master": master,
        "grads": trained,
        "moments": ("fp32" if exact else trained) if optimizer in HAS_MOMENTS else None,
        "projection_rank": DEFAULT_RANK if optimizer in PROJECTED else None,
        "lora": lora,
        "lisa_layers": DEFAULT_LISA if method == "lisa" else None,
        "base": "nf4" if method == "qlora" else None,
    }


def _check_together(recipe: Recipe) -> None:
    """Refuse choices that contradict each other."""
    _check_precisions(recipe)
    _check_optimizer(recipe)
    _check_adapters(recipe)
    _check_kernels(recipe)


def _check_precisions(recipe: Recipe) -> None:
    if recipe.master and recipe.params == "fp32":
        bound = "fp32 weights are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")
    if recipe.params != "fp32" and recipe.compute not in (recipe.params, *LOW_BITS):
        bound = f"16-bit weights compute in their own precision, {recipe.params}, or in fp8"
        remedy = f"set it to {recipe.params}, or params to fp32"
        raise PlanError("recipe.compute", recipe.compute, bound, remedy)


def _check_optimizer(recipe: Recipe) -> None:
    has_moments = recipe.optimizer in HAS_MOMENTS
    if not has_moments and recipe.moments is not None:
        bound = f"{recipe.optimizer} keeps no moments"
        raise PlanError("recipe.moments", recipe.moments, bound, "set it to null")
    if has_moments and recipe.moments is None:
        bound = f"{recipe.optimizer} keeps moments"
        raise PlanError("recipe.moments", None, bound, "choose fp32, bf16, int8 or int4")
    if recipe.early_update and recipe.grad_accum > 1:
        bound = "tensors that are updated during the backward pass cannot wait for more gradients"
        raise PlanError("recipe.grad_accum", recipe.grad_accum, bound, "set it to 1")
    projected = recipe.optimizer in PROJECTED
    if recipe.projection_rank is not None and not projected:
        bound = f"{recipe.optimizer} projects no gradients"
        remedy = "drop it, or set optimizer to galore or apollo"
        raise PlanError("recipe.projection_rank", recipe.projection_rank, bound, remedy)
    if projected and recipe.lora:
        bound = "gradients of adapters are as thin as what they would be projected to"
        raise PlanError("recipe.optimizer", recipe.optimizer, bound, "choose adamw")


def _check_adapters(recipe: Recipe) -> None:
    if recipe.method in ("full", "lisa") and recipe.lora is not None:
        bound = "full fine-tuning has no adapters"
        raise PlanError("recipe.lora", recipe.lora.rank, bound, "drop it, or set method to lora")
    trains = recipe.method == "full" and recipe.base == "int8"
    if recipe.method != "qlora" and recipe.base is not None and not trains:
        bound = "only the frozen weights of qlora are quantised, or all to int8 where they train"
        raise PlanError("recipe.base", recipe.base, bound, "drop it, or set method to qlora")
    if trains and (recipe.master or recipe.params == "fp32"):
        bound = "int8 weights train without another copy, beside 16-bit norms and embeddings"
        raise PlanError("recipe.base", recipe.base, bound, "set params to bf16 and master to null")
    if recipe.method == "qlora" and recipe.base is None:
        bound = "qlora quantises the frozen weights"
        raise PlanError("recipe.base", None, bound, "choose nf4, nf4-dq or int8")
    if recipe.lora and recipe.lora.dtype == "fp32" and recipe.master is not None:
        bound = "fp32 adapters are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")
    if recipe.method != "lisa" and recipe.lisa_layers is not None:
        bound = "only lisa trains some layers at a time"
        remedy = "drop it, or set method to lisa"
        raise PlanError("recipe.lisa_layers", recipe.lisa_layers, bound, remedy)


def _check_kernels(recipe: Recipe) -> None:
    if recipe.whole_compile and recipe.kernels == "eager":
        bound = "a compiled model has fused kernels"
        raise PlanError("recipe.whole_compile", True, bound, "set kernels to fused")
    if recipe.checkpoint_every > 1 and recipe.checkpointing == "none":
        bound = "no layer is made again"
        remedy = "set checkpointing to full or selective, or it to 1"
        raise PlanError("recipe.checkpoint_every", recipe.checkpoint_every, bound, remedy)

"""How a model is trained: dtypes, optimizer, batch, kernels; the `recipe` part of a job.

Defaults are classic mixed precision (2 + 2 + 12 bytes a parameter). `params: "fp32", compute:
"bf16"` is autocast; `params: "bf16", master: "fp32"` the classic recipe; `params: "bf16",
master: null` pure bf16. Wrong values are refused by name, with the bound and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from unfrozen.errors import PlanError
from unfrozen.job.lora import Lora
from unfrozen.job.optimizers import OPTIMIZERS
from unfrozen.job.settings import (
    BYTES,
    DTYPES,
    LOW_BITS,
    Setting,
    check_setting,
    choice,
    flag,
    listing,
    probability,
    settings_of,
    whole_number,
)
from unfrozen.job.unplanned import refuse_key
from unfrozen.model.architecture import Latent

__all__ = ["BYTES", "Lora", "Recipe"]

HAS_MOMENTS: Final = tuple(name for name, kind in OPTIMIZERS.items() if kind.has_moments)
"""Optimizers that have moments."""
PAIRED: Final = ("dpo", "embedding")
"""Objectives of which each row passes two texts through the model: chosen and rejected, or query
and document."""
REFERRED: Final = ("dpo", "grpo")
"""Objectives that may compare with the log-probabilities of a frozen reference model."""
PROJECTED: Final = tuple(name for name, kind in OPTIMIZERS.items() if kind.projected)
"""Optimizers whose moments of a matrix live in a space of lower rank."""


def _has_experts(job: Any) -> bool:
    return job.model.architecture.experts is not None


def _has_narrow_weights(job: Any) -> bool:
    return bool(job.recipe.params != "fp32" and job.recipe.lora is None)


def _has_no_master(job: Any) -> bool:
    optimizers = ("adamw", "adafactor")
    narrow = _has_narrow_weights(job) and job.recipe.master is None
    return narrow and job.recipe.optimizer in optimizers


def _has_moments(job: Any) -> bool:
    return job.recipe.optimizer in HAS_MOMENTS


def _accumulates_replicas(job: Any) -> bool:
    return bool(job.cluster.alike > 1 and job.recipe.grad_accum > 1 and job.recipe.lora is None)


def _copies_outputs(job: Any) -> bool:
    a, attention = job.model.architecture, job.recipe.attention
    if isinstance(a.mixer, Latent):
        return bool(attention != "eager")
    if a.mixer and not a.variants:  # no layer has attention
        return False
    shares_keys = 1 < a.kv_heads < a.heads
    if attention == "efficient":
        return not (a.copies_rotated or shares_keys)
    return bool(a.copies_rotated and attention != "eager")


def _compares(job: Any) -> bool:
    return job.recipe.objective in REFERRED


def _rolls_out(job: Any) -> bool:
    return bool(job.recipe.objective == "grpo")


def _checkpoints(job: Any) -> bool:
    return bool(job.recipe.checkpointing != "none")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train. Every field is a key of the job's `recipe`, declared as a setting.

    A default of None that a field's type allows is filled in by `read`, from the other settings.
    """

    method: str = choice(
        "full",
        "Method",
        "Which weights train, and so have gradients and optimizer states.",
        "Method",
        {
            "full": "full fine-tuning",
            "lora": "LoRA",
            "qlora": "QLoRA",
        },
    )
    objective: str = choice(
        "sft",
        "Objective",
        "What is trained for, and so which models and passes a step has.",
        "Method",
        {
            "sft": "next token (SFT, pre-training)",
            "dpo": "preference pairs (DPO)",
            "grpo": "rewards of rollouts (GRPO)",
            "embedding": "embeddings of pairs (contrastive)",
        },
    )
    """`micro_batch` counts pairs where it is one of `PAIRED`."""
    reference: bool | None = flag(
        None,
        "Reference model",
        "A frozen copy of the weights that the loss compares with; none beside adapters.",
        "Method",
        optional=True,
        applies=_compares,
    )
    """By default for dpo, not for grpo, as TRL 1.16 has it (`beta` of trainer/grpo_config.py)."""
    rollout_share: float | None = probability(
        None,
        "vLLM's share of each GPU",
        "`vllm_gpu_memory_utilization`, by default 0.3; 0 where another machine writes rollouts.",
        "Method",
        applies=_rolls_out,
    )
    """TRL's colocated mode keeps it, as vLLM does not sleep by default (trainer/grpo_config.py)."""
    completion_len: int | None = whole_number(
        None,
        "Completion length",
        "`max_completion_length`, by default half of a sequence, and 512 at most.",
        "Method",
        most=16_777_216,
        optional=True,
        applies=_rolls_out,
    )
    params: str = choice(
        "bf16",
        "Weight dtype",
        "Dtype of the weights the forward pass reads (`torch_dtype`); fp32 with bf16 compute is"
        " autocast.",
        "Precision",
        DTYPES,
    )
    """Under qlora, of the weights that are not quantized: fp32 after PEFT's
    prepare_model_for_kbit_training."""
    compute: str = choice(
        "bf16",
        "Compute dtype (matmuls)",
        "Dtype of the matrix multiplications: `bf16=True` in the Trainer, `--mixed_precision`,"
        " `bnb_4bit_compute_dtype`.",
        "Precision",
        DTYPES | {"fp8": "fp8", "mxfp8": "MXFP8", "nvfp4": "NVFP4", "int8": "int8"},
    )
    """By default that of the weights, bf16 for fp32."""
    master: str | None = choice(
        "fp32",
        "Master weights",
        "An fp32 copy of 16-bit weights that the optimizer updates, as Megatron and DeepSpeed have"
        " it.",
        "Precision",
        {"null": "none", "fp32": "fp32"},
        applies=_has_narrow_weights,
    )
    grads: str = choice(
        "bf16",
        "Gradient dtype",
        "Dtype of the stored gradients (`--accumulate-allreduce-grads-in-fp32` in Megatron).",
        "Precision",
        DTYPES,
    )
    """By default that of the weights that train."""
    reduce: str | None = choice(
        None,
        "Gradient reduce dtype",
        "Dtype of the reduce-scatter of sharded gradients (`reduce_dtype` in FSDP2).",
        "Precision",
        DTYPES,
        optional=True,
        applies=lambda job: job.cluster.alike > 1 and job.cluster.stage >= 2,
        json_only=True,
    )
    """By default that of the gradients, fp32 under `cluster.outer_apart`."""
    optimizer: str = choice(
        "adamw",
        "Optimizer",
        "The update rule, which decides how many states each weight has (`optim` in the Trainer).",
        "Optimizer",
        {name: kind.label for name, kind in OPTIMIZERS.items()},
    )
    """Muon updates embeddings, head and vectors by AdamW; GaLore and APOLLO are AdamW of the
    layers' matrices in a space of lower rank."""
    projection_rank: int | None = whole_number(
        None,
        "Projection rank",
        "Rank of the space in which GaLore and APOLLO store their moments (`rank`).",
        "Optimizer",
        most=65_536,
        optional=True,
        applies=lambda job: job.recipe.optimizer in PROJECTED,
    )
    moments: str | None = choice(
        "fp32",
        "Optimizer state dtype",
        "Dtype of the optimizer's moments; 8-bit is `adamw_bnb_8bit`.",
        "Precision",
        {"fp32": "fp32", "bf16": "bf16", "int8": "8-bit", "null": "none"},
        applies=_has_moments,
    )
    """By default fp32, or the dtype of the weights that train where there is no master copy."""
    paged: bool = flag(
        False,
        "Paged optimizer states",
        "Optimizer states live in CPU memory and are paged to the GPU (`paged_adamw_32bit`).",
        "Offload",
        applies=_has_moments,
    )
    optimizer_in_backward: bool = flag(
        False,
        "Optimizer step in backward",
        "Each tensor is updated, and its gradient freed, as soon as the gradient is known"
        " (`optimizer_in_bwd` in torchtune).",
        "Optimizer",
    )
    ema: bool = flag(
        False,
        "EMA of the weights",
        "An exponential moving average of the weights that train, in fp32 beside them.",
        "Optimizer",
    )
    no_sync: bool = flag(
        False,
        "No gradient sync while accumulating (`no_sync`)",
        "Gradients are reduced after the last micro-batch only, and stay unsharded until then.",
        "Batch",
        applies=_accumulates_replicas,
        json_only=True,
    )
    grad_buckets: bool | None = flag(
        None,
        "Separate gradient buckets (DDP)",
        "DDP stores gradients a second time, in its buckets; `gradient_as_bucket_view=True` and"
        " Megatron do not.",
        "Batch",
        optional=True,
        applies=lambda job: job.cluster.alike > 1 and job.cluster.stage < 2,
    )
    """By default with several whole copies of the model."""
    step: str = choice(
        "fused",
        "Optimizer implementation",
        "How the update is computed, and so its temporaries (`fused` and `foreach` in"
        " `torch.optim`).",
        "Optimizer",
        {
            "fused": "fused",
            "foreach": "foreach",
            "for_loop": "for-loop",
            "rows": "for-loop over slices of a tensor",
            "sub_groups": "sub-groups in fp32 (DeepSpeed)",
        },
    )
    """fused updates in place; foreach makes lists of temporaries, for_loop one tensor's, rows those
    of a slice (`gpu_runner`), sub_groups the fp32 gradients of 10⁹ weights (stage 3)."""
    micro_batch: int = whole_number(
        1,
        "Micro-batch size",
        "Sequences that go through the model at once on each GPU (`per_device_train_batch_size`).",
        "",
        most=65_536,
    )
    seq_len: int = whole_number(
        2048,
        "Sequence length",
        "Tokens of each sequence (`max_length`, `--seq-length`).",
        "",
        most=16_777_216,
    )
    grad_accum: int = whole_number(
        1,
        "Gradient accumulation steps",
        "Micro-batches of one optimizer step (`gradient_accumulation_steps`).",
        "Batch",
        most=1_000_000,
    )
    """With more than one, the gradients outlive the forward pass."""
    attention: str = choice(
        "sdpa",
        "Attention implementation",
        "Which kernel computes attention, and whether it stores the scores"
        " (`attn_implementation`).",
        "Activations",
        {
            "flash": "FlashAttention (no mask)",
            "flash2": "FlashAttention-2",
            "flash3": "FlashAttention-3 (Hopper)",
            "flash4": "FlashAttention-4 (Hopper, Blackwell)",
            "efficient": "memory-efficient SDPA (no mask)",
            "sdpa": "SDPA (mask in every layer)",
            "sdpa_masked": "SDPA (one shared mask)",
            "eager": "eager (stores the scores)",
        },
    )
    """flash takes no mask (sequences without padding, or FlashAttention itself), in the framework's
    default version; the numbered ones differ in time alone; efficient is
    PyTorch's kernel in fp32 and on GPUs before Ampere, as the runner calls it: no mask, keys and
    values not repeated, its output copied; sdpa is what
    transformers runs on padded sequences: a boolean mask that every layer casts, keys and values
    repeated for every head; sdpa_masked shares one mask in the compute dtype; eager builds the
    score matrix."""
    kernels: str = choice(
        "eager",
        "Kernels",
        "Which kernels run the layers, and so what they save for backward (`torch_compile`,"
        " `use_liger_kernel`).",
        "Activations",
        {"eager": "eager", "fused": "fused or compiled", "fused_block": "fused blocks"},
    )
    """fused is torch.compile, Liger or Transformer Engine; in fused_block norms and the gated
    feed-forward part are one operation with their matmuls, as in Unsloth and `gpu_runner`."""
    whole_compile: bool = flag(
        False,
        "Compile the whole model",
        "`torch.compile(model)` instead of each layer, so that backward returns all gradients at"
        " once.",
        "Activations",
        applies=lambda job: job.recipe.kernels != "eager",
        json_only=True,
    )
    checkpointing: str = choice(
        "none",
        "Activation checkpointing",
        "Which activations backward recomputes instead of reading them"
        " (`gradient_checkpointing`, `--recompute-granularity`).",
        "Activations",
        {"none": "none", "selective": "selective", "full": "full"},
    )
    """full recomputes each layer; selective recomputes the scores of eager attention, else every
    second matmul and all that is cheap."""
    checkpoint_every: int = whole_number(
        1,
        "Checkpoint every n-th layer",
        "Only every n-th layer is recomputed, the others save their activations.",
        "Activations",
        most=10_000,
        applies=_checkpoints,
        json_only=True,
    )
    reentrant: bool = flag(
        False,
        "Reentrant checkpoints",
        "Checkpoints are `use_reentrant=True`, transformers' default before 5.0; ZeRO-3 is FSDP1.",
        "Activations",
        applies=_checkpoints,
        json_only=True,
    )
    """The output of a recomputed layer and its gradient stay until its backward pass is over. FSDP1
    then gathers no layer in advance, and keeps the inputs of frozen layers; see `gathering`."""
    activation_offload: bool = flag(
        False,
        "Offload activations to CPU",
        "Saved activations wait in CPU memory until backward (`activation_offloading` in TRL).",
        "Offload",
    )
    expert_padding: str | float | None = listing(
        None,
        "Expert capacity factor",
        "Each expert has this multiple of its even share of tokens and drops the rest;"
        " “fullest” pads all experts to the fullest one (`--moe-expert-capacity-factor`).",
        "Experts",
        "capacity",
        most=1_000,
        optional=True,
        applies=_has_experts,
        json_only=True,
    )
    """None: experts take the tokens they are sent. "fullest" is at worst all tokens."""
    router_held: bool = flag(
        False,
        "Router auxiliary loss graph alive",
        "Routers keep a reference to their auxiliary loss, so that its graph lives until the next"
        " forward pass.",
        "Experts",
        applies=_has_experts,
        json_only=True,
    )
    whole_experts: bool = flag(
        False,
        "Experts in 16 bits under QLoRA",
        "Experts keep the dtype of the model: bitsandbytes quantizes no stack, as transformers 5"
        " has them.",
        "Experts",
        applies=lambda job: _has_experts(job) and job.recipe.method == "qlora",
        json_only=True,
    )
    experts_cast: bool = flag(
        False,
        "Autocast experts",
        "Under autocast the experts' fp32 weights are cast to the compute dtype at each use, as"
        " in `gpu_runner`; in transformers they compute in fp32.",
        "Experts",
        applies=_has_experts,
        json_only=True,
    )
    torch_delta: bool = flag(
        False,
        "Delta rule in PyTorch",
        "Without flash-linear-attention transformers computes a gated delta rule in fp32, in chunks"
        " of 64 tokens to which rows are padded, and saves every product.",
        "Attention",
        applies=lambda job: bool(job.model.architecture.has_delta_rule),
        json_only=True,
    )
    frozen_tower: bool = flag(
        False,
        "Freeze vision tower",
        "The vision encoder and its projector do not train (`freeze_vision_tower` in"
        " LLaMA-Factory, `freeze_vit` in ms-swift).",
        "Method",
        applies=lambda job: bool(job.model.architecture.vision or job.model.frozen > 0),
    )
    """Of it only the weights are there, in the dtype of the others."""
    dropout: float | None = probability(
        None,
        "Dropout",
        "Dropout of the model, of which each mask is saved; by default that of its config.json.",
        "Activations",
    )
    loss: str = choice(
        "logits_fp32",
        "Cross-entropy",
        "How the loss is computed, and so how many logits exist at once (`use_liger_kernel`,"
        " `--cross-entropy-loss-fusion`).",
        "Loss",
        {
            "logits_fp32": "full logits, fp32",
            "logits_bf16": "full logits, bf16",
            "chunked": "chunked",
            "fused_linear": "fused linear (Liger)",
            "linear": "fused linear, 256 tokens at a time",
            "fused_vocab": "fused linear, 2,048 tokens of the vocabulary at a time",
            "vocab_parallel": "vocabulary parallel (Megatron)",
            "loss_parallel": "loss parallel (PyTorch)",
            "classification": "classification head",
        },
    )
    """logits_fp32 upcasts whole logits; chunked stores 16-bit logits and upcasts a chunk;
    fused_linear never builds them, nor do linear and fused_vocab; vocab_parallel spreads them over
    tensor-parallel ranks, as loss_parallel does; classification has none."""
    compiled_loss: bool | None = flag(
        None,
        "Compile the loss",
        "The loss is one kernel, with one matrix of logits less; by default where the model's"
        " kernels are fused or compiled.",
        "Loss",
        optional=True,
        json_only=True,
    )
    keeps_outputs: bool = flag(
        False,
        "Logits alive through backward",
        "The training loop still references the model's outputs while backward runs.",
        "Loss",
        json_only=True,
    )
    lora: Lora | None = None
    base: str | None = choice(
        None,
        "Base weights (quantization)",
        "How QLoRA stores the frozen linear layers (`bnb_4bit_quant_type`,"
        " `bnb_4bit_use_double_quant`).",
        "Method",
        {
            "null": "none (16-bit)",
            "nf4": "NF4",
            "nf4-dq": "NF4 with double quantization",
            "int8": "int8",
        },
        applies=lambda job: job.recipe.method == "qlora" or job.recipe.base is not None,
    )
    """int8 also where all weights train (torchao, Q-GaLore)."""
    packed: bool = flag(
        False,
        "Packing",
        "Several documents share a sequence and do not attend to each other (`packing` in TRL).",
        "Batch",
        applies=_copies_outputs,
    )
    """Some attention kernels then copy no output (`gpu_runner`); nothing else changes."""
    rounding: str = choice(
        "nearest",
        "Rounding of bf16 updates",
        "How AdamW and Adafactor round updates of 16-bit weights without master weights"
        " (`bf16_stochastic_round` in torchao).",
        "Precision",
        {"nearest": "nearest", "stochastic": "stochastic", "kahan": "Kahan summation"},
        applies=_has_no_master,
    )
    """kahan stores what was rounded away in 16 more bits."""

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch, T = s · b, with b of `sequences`."""
        return self.sequences * self.seq_len

    @property
    def sequences(self) -> int:
        """Sequences of one micro-batch, two for each pair."""
        return self.micro_batch * (2 if self.objective in PAIRED else 1)

    @property
    def copies_weights(self) -> bool:
        """Return whether the reference is a copy: beside adapters it is the model without them."""
        return bool(self.reference) and self.lora is None

    @property
    def extra_passes(self) -> int:
        """Forward passes of a micro-batch beside the one that is differentiated: the reference
        model's, and of GRPO that which corrects for what vLLM computes otherwise
        (`vllm_importance_sampling_correction` of TRL 1.16, on by default).
        """
        return bool(self.reference) + bool(self.rollout_share)

    @property
    def reenters(self) -> bool:
        """Whether layers are recomputed in reentrant checkpoints."""
        return self.reentrant and self.checkpointing != "none"

    @property
    def loss_compiled(self) -> bool:
        """Whether the loss is one kernel."""
        return self.kernels == "fused" if self.compiled_loss is None else self.compiled_loss

    @property
    def accumulates_whole(self) -> bool:
        """Whether gradients of earlier micro-batches wait unsharded and unreduced."""
        return self.no_sync and self.grad_accum > 1 and self.lora is None

    @property
    def flashes(self) -> bool:
        """Return whether attention is FlashAttention of any version, which stores no scores."""
        return self.attention.startswith("flash")

    @property
    def saved_bytes(self) -> int:
        """Bytes of a number of the embedding and head that train beside adapters."""
        return BYTES["fp32" if self.lora and self.lora.saved_fp32 else self.params]

    @property
    def rounds(self) -> bool:
        """Whether updates are rounded in another way than to the nearest 16-bit number."""
        narrow = self.master is None and self.params != "fp32" and self.lora is None
        return narrow and self.rounding != "nearest" and self.optimizer in ("adamw", "adafactor")

    def resident_grads(self, encoder: bool = False) -> bool:
        """Return whether gradients live through the forward pass.

        They do where earlier micro-batches left them there, where they are accumulated in a wider
        buffer that is never freed (Megatron's main gradients), and those of an encoder, whose
        published measurements are of a time when PyTorch zeroed gradients in place.
        """
        trained = self.lora.dtype if self.lora else self.params
        return self.grad_accum > 1 or encoder or BYTES[self.grads] > BYTES[trained]

    def as_json(self) -> dict[str, object]:
        """Return plain data that `read` takes back."""
        return asdict(self)

    @classmethod
    def read(cls, given: object) -> Recipe:
        """Return the recipe of a job, with defaults. Raises PlanError."""
        if not isinstance(given, Mapping):
            raise PlanError("recipe", given, "it must be an object", "give {} for the defaults")
        if str(given.get("attention")).startswith("flash_attention"):  # as transformers spells it
            name = str(given["attention"]).replace("_attention", "").replace("_", "")
            given = {**given, "attention": name}
        if kind := _IN_BACKWARD.get(str(given.get("optimizer"))):
            if given.get("optimizer_in_backward", True) is not True:
                bound = f"{given['optimizer']} updates weights in the backward pass"
                raise PlanError("recipe.optimizer_in_backward", False, bound, "drop it")
            given = {"master": None, "optimizer_in_backward": True, **given, "optimizer": kind}
        for key, value in given.items():
            if key in RECIPE_SETTINGS:
                check_setting(RECIPE_SETTINGS[key], value)
            elif key != "lora":
                raise refuse_key("recipe.", key, value, sorted((*RECIPE_SETTINGS, "lora")))
        values = {**_defaults(given), **given}
        if values.get("lora") is not None:
            values["lora"] = Lora.read(values["lora"])
        recipe = cls(**values)
        _check_together(recipe)
        return recipe


_IN_BACKWARD: Final = {"lomo": "sgd", "adalomo": "adafactor"}
"""Optimizers that update a tensor as soon as its gradient is known (arXiv 2306.09782, 2310.10195),
and the rule by which they do, without a master copy."""
DEFAULT_RANK: Final = 128
"""Of GaLore's own examples (jiaweizzhao/GaLore, README: rank 128)."""
RECIPE_SETTINGS: Final[dict[str, Setting]] = settings_of(Recipe, "recipe")
"""The settings of a recipe by key; those of its adapters are in `unfrozen.job.lora`."""


def _defaults(given: Mapping[str, object]) -> dict[str, object]:
    """Return the defaults that follow from other settings."""
    params = cast(str, given.get("params", "bf16"))
    method = given.get("method", "full")
    optimizer = given.get("optimizer", "adamw")
    trained = params
    lora: object = None
    if method in ("lora", "qlora"):
        lora = Lora.read(given.get("lora") or {})
        trained = lora.dtype
    master = given.get("master", None if trained == "fp32" or lora else "fp32")
    exact = trained == "fp32" or master == "fp32"
    return {
        "compute": "bf16" if params == "fp32" else params,
        "master": master,
        "grads": trained,
        "moments": ("fp32" if exact else trained) if optimizer in HAS_MOMENTS else None,
        "projection_rank": DEFAULT_RANK if optimizer in PROJECTED else None,
        **_objective_defaults(given),
        "lora": lora,
        "base": "nf4" if method == "qlora" else None,
    }


def _objective_defaults(given: Mapping[str, object]) -> dict[str, object]:
    objective, length = given.get("objective"), given.get("seq_len", 2048)
    found: dict[str, object] = {"reference": objective == "dpo" if objective in REFERRED else None}
    if objective == "grpo":
        found |= {"rollout_share": 0.3, "completion_len": max(1, min(512, cast(int, length) // 2))}
    return found | ({"loss": "classification"} if objective == "embedding" else {})


def _check_objective(recipe: Recipe) -> None:
    for key in ("reference", "rollout_share", "completion_len"):
        value, takes = getattr(recipe, key), REFERRED if key == "reference" else ("grpo",)
        if value is not None and recipe.objective not in takes:
            bound = f"{recipe.objective} has none"
            remedy = f"drop it, or set objective to {' or '.join(takes)}"
            raise PlanError(f"recipe.{key}", value, bound, remedy)
    if recipe.objective == "embedding" and recipe.loss != "classification":
        bound = "an embedding has no logits"
        raise PlanError("recipe.loss", recipe.loss, bound, "drop it")
    length = recipe.completion_len
    if length is not None and length > recipe.seq_len:
        bound = f"a sequence has {recipe.seq_len:,} tokens, those of the prompt too"
        raise PlanError("recipe.completion_len", length, bound, "lower it, or raise seq_len")


def _check_together(recipe: Recipe) -> None:
    """Refuse choices that contradict each other."""
    _check_objective(recipe)
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
        bound = f"{recipe.optimizer} has no moments"
        raise PlanError("recipe.moments", recipe.moments, bound, "set it to null")
    if has_moments and recipe.moments is None:
        bound = f"{recipe.optimizer} has moments"
        raise PlanError("recipe.moments", None, bound, "choose fp32, bf16 or int8")
    if recipe.optimizer_in_backward and recipe.grad_accum > 1:
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
    if recipe.method == "full" and recipe.lora is not None:
        bound = "full fine-tuning has no adapters"
        raise PlanError("recipe.lora", recipe.lora.rank, bound, "drop it, or set method to lora")
    trains = recipe.method == "full" and recipe.base == "int8"
    if recipe.method != "qlora" and recipe.base is not None and not trains:
        bound = "only the frozen weights of qlora are quantized, or all to int8 where they train"
        raise PlanError("recipe.base", recipe.base, bound, "drop it, or set method to qlora")
    if trains and (recipe.master or recipe.params == "fp32"):
        bound = "int8 weights train without another copy, beside 16-bit norms and embeddings"
        raise PlanError("recipe.base", recipe.base, bound, "set params to bf16 and master to null")
    if recipe.method == "qlora" and recipe.base is None:
        bound = "qlora quantizes the frozen weights"
        raise PlanError("recipe.base", None, bound, "choose nf4, nf4-dq or int8")
    if recipe.lora and recipe.lora.dtype == "fp32" and recipe.master is not None:
        bound = "fp32 adapters are their own master copy"
        raise PlanError("recipe.master", recipe.master, bound, "set it to null")


def _check_kernels(recipe: Recipe) -> None:
    if recipe.whole_compile and recipe.kernels == "eager":
        bound = "a compiled model has fused kernels"
        raise PlanError("recipe.whole_compile", True, bound, "set kernels to fused")
    if recipe.checkpoint_every > 1 and recipe.checkpointing == "none":
        bound = "no layer is recomputed"
        remedy = "set checkpointing to full or selective, or it to 1"
        raise PlanError("recipe.checkpoint_every", recipe.checkpoint_every, bound, remedy)

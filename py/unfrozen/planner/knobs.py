"""The controls of the planner: their words, their choices, and what each does to memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.job.habits import FRAMEWORKS

_SEQ_LENS: Final = tuple(
    size for power in range(7, 20) for size in (2**power, 3 * 2 ** (power - 1)) if size <= 524_288
)
_BATCHES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_CARDS: Final = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
SLIDERS: Final = {
    "seq_len": ("Sequence length", "tokens", _SEQ_LENS),
    "micro_batch": ("Micro-batch", "sequences", _BATCHES),
    "gpus": ("Cards", "cards", _CARDS),
}
_PRECISIONS: Final = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting: a choice from words, a flag, or a number; `help` says what it does to memory."""

    key: str
    label: str
    help: str
    choices: dict[str, str]


def _knob(key: str, label: str, help: str, choices: dict[str, str] | None = None) -> Knob:
    return Knob(key, label, help, choices or {})


GROUPS: Final[tuple[tuple[str, tuple[Knob, ...]], ...]] = (
    (
        "What trains",
        (
            _knob(
                "method",
                "Method",
                "what has gradients and optimizer state",
                {
                    "full": "full: every weight",
                    "lora": "LoRA: adapters",
                    "qlora": "QLoRA",
                    "lisa": "LISA: some layers at a time",
                },
            ),
            _knob("lisa_layers", "Layers at a time", "that LISA trains"),
            _knob(
                "base",
                "Frozen weights",
                "how QLoRA stores what does not train",
                {
                    "null": "16-bit",
                    "nf4": "NF4",
                    "nf4-dq": "NF4, scales quantised too",
                    "int8": "int8",
                },
            ),
            _knob("lora_rank", "Rank", "inner width of the adapters"),
            _knob("lora_targets", "Adapters at", "names of the layers that get one"),
            _knob("lora_dtype", "Adapter weights", "their precision", _PRECISIONS),
            _knob(
                "lora_library",
                "Adapter code",
                "what it keeps beside the adapters",
                {"litgpt": "LitGPT", "peft": "PEFT"},
            ),
            _knob("lora_dropout", "Adapter dropout", "each keeps a dropped copy of its input"),
            _knob("lora_autocast", "Adapters under autocast", "their products run in 16 bits"),
        ),
    ),
    (
        "Precision",
        (
            _knob("params", "Weights", "what the forward pass reads", _PRECISIONS),
            _knob(
                "compute",
                "Products",
                "precision of the arithmetic",
                _PRECISIONS | {"fp8": "fp8", "mxfp8": "MXFP8", "nvfp4": "NVFP4", "int8": "int8"},
            ),
            _knob(
                "master",
                "Master copy",
                "exact weights beside 16-bit ones",
                {"null": "none", "fp32": "fp32"},
            ),
            _knob("grads", "Gradients", "as they wait for the step", _PRECISIONS),
            _knob("reduce", "Sums of gradients", "over cards that share them out", _PRECISIONS),
            _knob(
                "moments",
                "Moments",
                "the optimizer's running means",
                {"fp32": "fp32", "bf16": "bf16", "int8": "8-bit", "int4": "4-bit", "null": "none"},
            ),
        ),
    ),
    (
        "Optimizer",
        (
            _knob(
                "optimizer",
                "Optimizer",
                "what it remembers between steps",
                {
                    "adamw": "AdamW",
                    "sgd": "SGD",
                    "sgd_momentum": "SGD, momentum",
                    "adafactor": "Adafactor",
                    "lion": "Lion",
                    "muon": "Muon",
                    "lomo": "LOMO",
                    "galore": "GaLore",
                    "apollo": "APOLLO",
                },
            ),
            _knob("projection_rank", "Rank of moments", "under GaLore and APOLLO"),
            _knob(
                "step",
                "Update",
                "temporaries while it writes",
                {
                    "fused": "fused",
                    "foreach": "foreach: lists",
                    "for_loop": "one by one",
                    "rows": "some rows at a time",
                    "sub_groups": "in sub-groups, fp32",
                },
            ),
            _knob("paged", "Paged moments", "parked in the host's memory"),
            _knob(
                "optimizer_in_backward",
                "Update within the backward pass",
                "one layer's gradients at a time",
            ),
            _knob(
                "rounding",
                "Rounding",
                "of 16-bit weights without an exact copy",
                {"nearest": "nearest", "stochastic": "stochastic", "kahan": "Kahan: remembered"},
            ),
            _knob("zero_in_place", "Zeroed gradients", "kept between steps, not freed"),
        ),
    ),
    (
        "Forward and backward",
        (
            _knob("grad_accum", "Accumulation", "micro-batches before a step"),
            _knob("no_sync", "Summed at the end only", "until then gradients wait whole"),
            _knob("grad_buckets", "Buckets of their own", "gradients a second time, as in DDP"),
            _knob("packed", "Packed rows", "documents share a sequence, kept apart"),
            _knob(
                "attention",
                "Attention",
                "whether scores are written down",
                {
                    "flash": "flash",
                    "sdpa": "sdpa, padded rows",
                    "sdpa_masked": "sdpa, one mask",
                    "eager": "eager: all scores",
                },
            ),
            _knob(
                "kernels",
                "Kernels",
                "what each layer keeps",
                {"eager": "eager", "fused": "fused", "fused_block": "fused blocks"},
            ),
            _knob("whole_compile", "Compiled as one", "all gradients come at once"),
            _knob(
                "checkpointing",
                "Checkpointing",
                "what is computed again",
                {"none": "none", "selective": "selective", "full": "full: every layer"},
            ),
            _knob("checkpoint_every", "Each so manieth layer", "is computed again, others not"),
            _knob(
                "loss",
                "Loss",
                "how many logits exist at once",
                {
                    "logits_fp32": "whole logits, fp32",
                    "logits_bf16": "whole logits, 16-bit",
                    "chunked": "in chunks",
                    "fused_linear": "fused with the head",
                    "linear": "by 256 tokens",
                    "fused_vocab": "by 2,048 words",
                    "vocab_parallel": "split over cards",
                    "loss_parallel": "split over cards, PyTorch",
                    "classification": "classification head",
                },
            ),
            _knob("compiled_loss", "Loss in one kernel", "one matrix of logits less"),
            _knob("keeps_outputs", "Logits held", "by the loop, through the backward pass"),
            _knob("expert_padding", "Places of experts", "times the even share, or fullest"),
            _knob("router_held", "Routers' losses held", "with all that leads to them"),
            _knob("experts_cast", "Experts under autocast", "in 16 bits, as other layers"),
            _knob("frozen_tower", "What sees pictures", "does not train"),
            _knob("dropout", "Dropout", "each mask is kept: 0 … 1"),
            _knob("activation_offload", "Offload activations", "to the host, layer by layer"),
        ),
    ),
    (
        "Cards",
        (
            _knob(
                "sharding",
                "Sharding",
                "what the cards share out",
                {
                    "none": "none: copies",
                    "zero1": "ZeRO-1: optimizer",
                    "zero2": "ZeRO-2: + gradients",
                    "zero3": "ZeRO-3: + weights",
                },
            ),
            _knob("shard_size", "Shared among", "so many cards; groups of them are copies (HSDP)"),
            _knob("tensor_parallel", "Tensor parallel", "cards that split each layer"),
            _knob("context_parallel", "Context parallel", "cards that split each sequence"),
            _knob("outer_apart", "Embedding and head apart", "gathered on their own under ZeRO-3"),
            _knob("root_resharded", "Ends let go of", "between forward and backward pass"),
            _knob("whole_embedding", "Embedding whole", "on each tensor-parallel card"),
            _knob(
                "offload",
                "Offload",
                "states in the host's memory",
                {"none": "none", "optimizer": "optimizer", "params": "optimizer and weights"},
            ),
            _knob("sequence_parallel", "Sequence parallel", "norms split as well"),
        ),
    ),
    (
        "Layers and experts on cards of their own",
        (
            _knob("pipeline_parallel", "Pipeline parallel", "cards that hold layers of their own"),
            _knob(
                "pipeline_schedule",
                "Schedule",
                "how many micro-batches are in flight",
                {
                    "gpipe": "GPipe: all",
                    "1f1b": "1F1B: one a rank",
                    "interleaved": "interleaved 1F1B",
                    "zero_bubble": "zero bubble (ZB-H1)",
                    "zb_h2": "zero bubble (ZB-H2)",
                    "zb_v": "zero bubble, V-shaped",
                    "dualpipe_v": "DualPipeV",
                    "dualpipe": "DualPipe: weights twice",
                },
            ),
            _knob(
                "pipeline_chunks", "Stages a card", "of smaller size, where they are interleaved"
            ),
            _knob("pipeline_layers", "Layers of each stage", "in order, like 8, 8, 8, 7"),
            _knob("expert_parallel", "Expert parallel", "cards that share out the experts"),
            _knob("expert_tensor_parallel", "Expert tensor parallel", "cards that split an expert"),
            _knob("device_map", "Device map", "layers over the cards of one machine, one at work"),
        ),
    ),
    (
        "The whole run",
        (
            _knob(
                "framework",
                "Framework",
                "whose defaults count where nothing is said here",
                {name: name for name in sorted(FRAMEWORKS)},
            ),
            _knob("tokens", "Tokens", "seen in training, all passes together"),
            # The range over providers in May 2026 (mercatus-ai.com, cloud GPU pricing).
            _knob(
                "price",
                "Price of a card-hour",
                "in your currency; in May 2026 an A100 rented at $1 to $3, an H100 at $2 to $5",
            ),
        ),
    ),
)

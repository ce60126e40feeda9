"""The keys of a planner's state: which are whole numbers, flags, parts of a recipe or a cluster."""

from __future__ import annotations

from typing import Final

DEFAULTS: Final[dict[str, str]] = {
    "model": "meta-llama/Llama-3.1-8B",
    "config": "",
    "gpu": "A100 80GB SXM",
    "gpus": "1",
    "seq_len": "2048",
    "micro_batch": "1",
    "tokens": "10000000",
    "unit": "GiB",
}
"""The view that is baked into the page; a key that is not here is empty by default."""

FLAGS: Final = frozenset(
    {"paged", "optimizer_in_backward", "activation_offload", "sequence_parallel", "zero_in_place"}
    | {"outer_apart", "packed", "no_sync", "grad_buckets", "whole_compile", "compiled_loss"}
    | {
        "lora_autocast",
        "keeps_outputs",
        "router_held",
        "experts_cast",
        "frozen_tower",
        "root_resharded",
        "whole_embedding",
        "device_map",
    }
)
MAY_BE_ON: Final = FLAGS - {
    "paged",
    "optimizer_in_backward",
    "activation_offload",
    "sequence_parallel",
    "device_map",
}
"""Flags that may be set while the reader leaves them alone, by a framework too; others are off."""
MAY_BE_EMPTY: Final = frozenset({"gpu"})
"""Emptied, it says something: no card, sizes alone."""
WHOLE: Final = frozenset(
    {"gpus", "seq_len", "micro_batch", "grad_accum", "tensor_parallel", "context_parallel"}
    | {"lora_rank", "tokens", "projection_rank", "lisa_layers", "checkpoint_every"}
    | {"pipeline_parallel", "pipeline_chunks", "expert_parallel", "expert_tensor_parallel"}
    | {"shard_size"}
)
REAL: Final = frozenset({"dropout", "lora_dropout", "price"})
RECIPE: Final = (
    "method",
    "base",
    "params",
    "compute",
    "master",
    "grads",
    "reduce",
    "optimizer",
    "projection_rank",
    "lisa_layers",
    "moments",
    "paged",
    "optimizer_in_backward",
    "no_sync",
    "grad_buckets",
    "zero_in_place",
    "rounding",
    "step",
    "micro_batch",
    "seq_len",
    "grad_accum",
    "packed",
    "attention",
    "kernels",
    "whole_compile",
    "checkpointing",
    "checkpoint_every",
    "activation_offload",
    "expert_padding",
    "router_held",
    "experts_cast",
    "frozen_tower",
    "dropout",
    "loss",
    "compiled_loss",
    "keeps_outputs",
)
YIELDS: Final = frozenset({"seq_len"})
"""Left to the job while the reader leaves it alone: a model may read no sequence that long."""
LORA: Final = (
    "lora_rank",
    "lora_targets",
    "lora_dtype",
    "lora_library",
    "lora_dropout",
    "lora_autocast",
)
CLUSTER: Final = (
    "gpus",
    "sharding",
    "shard_size",
    "tensor_parallel",
    "sequence_parallel",
    "context_parallel",
    "pipeline_parallel",
    "pipeline_schedule",
    "pipeline_chunks",
    "pipeline_layers",
    "expert_parallel",
    "expert_tensor_parallel",
    "device_map",
    "offload",
    "outer_apart",
    "root_resharded",
    "whole_embedding",
)
OWN: Final = ("model", "config", "gpu", "framework", "tokens", "price", "unit")
KEYS: Final = (*OWN, *RECIPE, *LORA, *CLUSTER)

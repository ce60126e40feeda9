"""The processes that train together, and what each one holds.

Reading order:

- `peers` — who has ended before its time takes the others along
- `processes` — what each process holds, what is reduced over all, how a model is sharded
- `sharded_files` — shards of tensors in files, written by each, read by any
"""

from gpu_runner.world.processes import (
    Rendezvous,
    World,
    added,
    as_sharded,
    blocks_of,
    first_index,
    freeze_encoders,
    full_tensor,
    group_of,
    is_cut,
    is_replica,
    join,
    language_weights,
    local,
    part_and_count,
    rows_of,
    shard_like,
    trained_weights,
    untied_ends,
)

__all__ = [
    "Rendezvous",
    "World",
    "added",
    "as_sharded",
    "blocks_of",
    "first_index",
    "freeze_encoders",
    "full_tensor",
    "group_of",
    "is_cut",
    "is_replica",
    "join",
    "language_weights",
    "local",
    "part_and_count",
    "rows_of",
    "shard_like",
    "trained_weights",
    "untied_ends",
]

"""The processes that train together, and what each one holds.

Reading order:

- `processes` — what each process holds, what is reduced over all, how a model is sharded
- `sharded_files` — shards of tensors in files, written by each, read by any
"""

from gpu_runner.world.processes import (
    Meeting,
    World,
    added,
    blocks_of,
    first_place,
    group_of,
    is_copy,
    is_cut,
    join,
    local,
    parts_of,
    placed,
    placed_like,
    rows_of,
    untied_ends,
    whole,
)

__all__ = [
    "Meeting",
    "World",
    "added",
    "blocks_of",
    "first_place",
    "group_of",
    "is_copy",
    "is_cut",
    "join",
    "local",
    "parts_of",
    "placed",
    "placed_like",
    "rows_of",
    "untied_ends",
    "whole",
]

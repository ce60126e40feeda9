"""The processes that train together, and what each one holds.

Reading order:

- `parts` — which rows of a tensor a process holds
- `shards` — rows of tensors in files, written by each, read by any
- `meeting` — whether all come to the same point
- `processes` — who is the first, what is added up, how a model is cut
"""

from gpu_runner.world.meeting import Meeting
from gpu_runner.world.parts import (
    added,
    first_place,
    group_of,
    is_copy,
    is_cut,
    local,
    parts_of,
    placed,
    placed_like,
    rows_of,
    whole,
)
from gpu_runner.world.processes import World, blocks_of, join, untied_ends

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

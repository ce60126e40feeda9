"""Out of memory: where it happened, what was larger than predicted, and what would have fitted.

Nothing here needs a run of ours: who watches another trainer asks it, too.

Reading order:

- `thrown` — what an allocator's message says
- `scene` — what was known when memory ran out
- `bound` — the limit that was met, and what tensors could have taken of it
- `report` — all of it as words for a person and data for the page
"""

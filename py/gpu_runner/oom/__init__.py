"""Out of memory: where it happened, what was larger than predicted, and what would have fitted.

Nothing here needs PyTorch or a run of ours: who watches another trainer can ask it, too.

Reading order:

- `thrown` — what an allocator's message says
- `scene` — what was known when memory ran out
- `report` — all of it as words for a person and data for the page
"""

"""What a person sees of a plan.

Reading order:

- `reading` — how far its rows are read
- `preview` — what will be trained, row by row
- `table` — what `plan` prints
"""

"""A step that costs nothing: under fake tensors, everything followed, nothing allocated.

Reading order:

- `step_tracker` — PyTorch's memory tracker, asked for every instant's peak
- `adapters` — low-rank adapters on frozen layers
- `step` — a step under fake tensors
- `report` — the trace beside the plan, as a table or as JSON
"""

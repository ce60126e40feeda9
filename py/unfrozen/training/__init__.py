"""What the runner, the lab and the planner know alike of a training step.

Reading order:

- `number_formats` — how numbers are written in memory, and the gaps between them
- `optimizers` — AdamW by hand; when a bf16 weight does not move
- `layers` — the layer of a weight, and its share of the rate
- `parts` — embedding, head, norms, router, experts: weights by the names people give
- `order` — in which order rows are seen
"""

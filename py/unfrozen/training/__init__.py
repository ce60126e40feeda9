"""What runner, lab and planner share about a training step.

Reading order:

- `number_formats` — how numbers are written in memory, and the gaps between them
- `optimizers` — AdamW by hand; when a bf16 weight does not move
- `parameter_groups` — the layer of a weight, its share of the rate; embedding, head, norms by name
- `order` — in which order examples are seen
"""

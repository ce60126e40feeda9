"""GPUs: their memory, their speed, and their links.

Reading order:

- `gpus` — the table of GPUs, read from `gpus.json`, with the sources of its figures
- `rates` — what a training step reaches of those figures: matmuls, memory, links
"""

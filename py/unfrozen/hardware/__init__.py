"""GPUs: their memory, their speed, and their links.

Reading order:

- `gpus` — the table of GPUs, read from `gpus.json`, with the sources of its figures; what a
  training step reaches of them: matmuls, memory, links
"""

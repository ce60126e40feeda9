"""Optimizers: how a gradient becomes an update.

Reading order:

- `rounding` — how updates of bf16 weights are rounded, and how many are lost
- `rules` — Adafactor, rounded AdamW and SGD, with the interface of PyTorch's fused kernels
- `muon` — Muon: matrices are orthogonalized, each by one process
- `eight_bit` — AdamW with 8-bit states, by bitsandbytes or torchao
- `offloaded_adamw` — AdamW in CPU memory, beside the GPU
- `optimizer` — any of them over every parameter, in groups of equal rate and decay; in backward
"""

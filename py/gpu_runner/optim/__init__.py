"""Optimizers: how a gradient becomes an update.

Reading order:

- `rounding` — bf16 updates: how they are rounded, how many are lost
- `rules` — Adafactor, rounded AdamW and SGD, in the fused kernels' protocol
- `muon` — Muon: whole matrices, shared out to the processes
- `eight_bit` — 8-bit moments, by bitsandbytes or torchao
- `half_life` — how long AdamW remembers, also told in tokens
- `parts` — rates and decay of one part of the model beside the others
- `optimizer` — any of them over every parameter; clip and skip without a wait
- `early` — the update within the backward pass, one gradient at a time
"""

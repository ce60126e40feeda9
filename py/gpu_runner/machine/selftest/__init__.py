"""`unfrozen selftest`: whether this machine computes correctly, every path within its bound.

A check is one sentence with a number and its bound. Where the machine lacks what a check needs (a
GPU, a second one, a compiler) the check is skipped and says so; an exception fails its own check
only. All checks together take under two minutes. They compare with the installed PyTorch and
transformers, not with expectations of our tests.

Reading order:

- `check` — a check, its figure, and the models and batches it runs on
- `gradients` — loss, gradients, packing, resuming, dtypes, attention kernels
- `optimizers` — every optimizer against its formula; bf16 rounding against exact weights
- `steps` — checkpointing, losses, experts, files, memory, synchronization, two processes
- `run` — all of them, a line each, and the report
"""

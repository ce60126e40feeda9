"""Checks and measurements of the machine: `unfrozen doctor`, `calibrate`, `selftest` and `bench`.

What a run itself asks of its machine (memory limits, GPUs, samples) is in `system`, below.

Reading order:

- `doctor` — what is installed, which GPUs are there, what is missing and what to type about it
- `speeds` — matmuls, memory bandwidth and kernel launches of a device, measured now
- `recorded_steps` — step times that earlier runs recorded on it
- `calibrate` — both together, in place of the planner's assumptions
- `selftest` — whether the machine computes what it should
- `bench` — tokens per second, MFU and memory of three sizes of a model
"""

"""Checks and measurements of the machine: `unfrozen doctor`, `selftest`, `bench` and `calibrate`.

What a run itself reads of its machine (memory limits, GPUs, samples) is in `system`.

Reading order:

- `description` — the outcome of a check, and the machine as doctor and selftest describe it
- `doctor` — what is installed, which GPUs are there, what is missing and what to type about it
- `calibrate` — speeds measured now and steps of earlier runs, in place of the planner's assumptions
- `selftest` — whether the machine computes correctly
- `bench` — tokens per second, MFU and memory of three sizes of a model
"""

"""Checks of the machine: `unfrozen doctor` and `selftest`.

What a run itself reads of its machine (memory limits, GPUs, samples) is in `system`.

Reading order:

- `description` — the outcome of a check, and the machine as doctor and selftest describe it
- `doctor` — what is installed, which GPUs are there, what is missing and what to type about it
- `selftest` — whether the machine computes correctly
"""

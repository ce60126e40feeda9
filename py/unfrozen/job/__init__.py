"""The question to the planner: which model, trained how, on what.

Reading order:

- `recipe` — how a model is trained
- `cluster` — on how many cards
- `targets` — the layers that adapters sit beside
- `job` — all of it, read from plain data and checked
"""

from unfrozen.job.job import KEYS, LARGEST_CONFIG_BYTES, Job, read_model

__all__ = ["KEYS", "LARGEST_CONFIG_BYTES", "Job", "read_model"]

"""The question to the planner: which model, trained how, on what.

Reading order:

- `choices` — what each key of a recipe may be
- `lora` — the adapters of a recipe
- `recipe` — how a model is trained
- `cluster` — on how many cards
- `layout` — whether a layout fits a model
- `targets` — the layers that adapters sit beside
- `habits` — what frameworks do by default
- `framework` — … where a job does not say it
- `job` — all of it, read from plain data and checked
"""

from unfrozen.job.job import KEYS, LARGEST_CONFIG_BYTES, Job, read_model

__all__ = ["KEYS", "LARGEST_CONFIG_BYTES", "Job", "read_model"]

"""A job: a model, a recipe, a cluster, a GPU, a framework.

Reading order:

- `optimizers` — every optimizer: its states, its traffic, what the runner does with it
- `settings` — what a setting is: type, default, bounds, label, help
- `lora` — the adapters of a recipe, and the layers they sit beside
- `recipe` — how a model is trained
- `cluster` — on how many GPUs
- `layout` — whether a layout fits a model
- `framework_defaults` — what a framework does where a job does not say it
- `job` — all of it, read from plain data and checked
"""

from unfrozen.job.job import KEYS, LARGEST_CONFIG_BYTES, Job, read_model

__all__ = ["KEYS", "LARGEST_CONFIG_BYTES", "Job", "read_model"]

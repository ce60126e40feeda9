"""A plan as plain data, as text, and beside measurements.

Reading order:

- `plain` — a plan as plain data, with fixed keys
- `text` — a plan as text for a terminal
- `accuracy` — measured peaks beside the plan
- `later` — runs that others published after the planner was written
"""

from unfrozen.answer.plain import ADVISED_JOBS, answer, on_all_gpus

__all__ = ["ADVISED_JOBS", "answer", "on_all_gpus"]

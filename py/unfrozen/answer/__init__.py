"""A plan as data, as text, and beside what was measured.

Reading order:

- `plain` — as plain data, with its fixed keys
- `text` — as text for a person at a terminal
- `accuracy` — measured peaks, beside the plan
- `later` — what others published after the model was done, then and today
"""

from unfrozen.answer.plain import ADVISED_JOBS, answer, on_all_gpus

__all__ = ["ADVISED_JOBS", "answer", "on_all_gpus"]

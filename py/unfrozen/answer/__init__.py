"""A plan told: as data, as text, and beside what was measured.

Reading order:

- `chosen` — what a named framework set, and why
- `plain` — as plain data, with its fixed keys
- `text` — as text for a person at a terminal
- `accuracy` — what steps were seen to hold, beside what the plan says
- `later` — what others published after the model was done, first looked at and today
"""

from unfrozen.answer.plain import ADVISED_JOBS, answer, on_all_cards

__all__ = ["ADVISED_JOBS", "answer", "on_all_cards"]

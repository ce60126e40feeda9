"""The plan of a job: what it holds, how long it takes, what would change that.

Reading order:

- `fit` — what a job holds, and whether the card holds that
- `methods` — full fine-tuning, LoRA and QLoRA side by side
- `flops` — what a token costs in operations
- `timing` — seconds of products, attention, memory and collectives, term by term
- `step_time` — what a step costs in seconds, cause by cause
- `timeline` — two steps through time, turn by turn
- `host` — what loading and saving need of a machine's own memory
- `record` — how far such seconds were from measured ones, and which kind of job a job is
- `compute` — time, energy and cost of a number of tokens
- `solve` — fewest cards, largest batch, longest sequence
- `dimensions` — what cards may share out: every layout a model and a step allow
- `layouts` — those that fit, the fastest first
- `largest_model` — the largest model that each card can train
- `changes` — what can be changed in a job
- `advice` — what a change saves and costs; the least set that fits
"""

from unfrozen.plan.fit import DEFAULT_GPU, Plan, card_words, plan, plan_job

__all__ = ["DEFAULT_GPU", "Plan", "card_words", "plan", "plan_job"]

"""One question, one plan: from a model, data, and GPUs or a budget to what to type.

Reading order:

- `changes` — which recipe and offload, in which framework
- `host` — host memory, disk, evaluating and saving
- `best` — the plan of a project, and what else it could be
- `questions` — a question as it is asked, from plain data
- `budget` — which GPUs, and how many, for an amount of money
- `text` — the answer at a terminal, and as data
- `page` — the answer in the page, a few plans at a time
"""

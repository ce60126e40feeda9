"""The pure core of Unfrozen: memory, schedules, optimizers and names; standard library only.

Nothing here reads a file, a clock or a network, so CPython, the reader's browser and the trainer
run the same files and get the same numbers. Only `__main__` touches files.

Reading order (each module uses only those above it; packages give their own order):

1. `errors` — one shape for every refusal: key, value, bound, remedy
2. `units` — GB and GiB, three significant digits
3. `events` — the words the trainer writes and the page reads
4. `cell_json` — strict readers for what a cell assigned
5. `publish` — the tables and plots a cell may hand to the page
6. `schedules` — learning rate as a pure function of the step
7. `model` — from config.json to the exact tensors of a model
8. `catalogue` — published models and their real sizes
9. `gpus` — cards, what they hold and who says so
10. `recipe` — how a model is trained
11. `cluster` — on how many cards
12. `optimizers` — AdamW by hand; when a bf16 weight does not move
13. `memory` — what a training step holds, by component and by instant
14. `methods` — full fine-tuning, LoRA and QLoRA side by side
15. `job` — the planner's question
16. `plan` — its answer
17. `lab` — experiments small enough to run while one reads
18. `__main__` — the command line
"""

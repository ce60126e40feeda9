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
10. `boards` — what they draw, and how fast they talk
11. `recipe` — how a model is trained
12. `cluster` — on how many cards
13. `optimizers` — AdamW by hand; when a bf16 weight does not move
14. `memory` — what a training step holds, by component and by instant
15. `job` — the planner's question
16. `plan` — its answer
17. `methods` — full fine-tuning, LoRA and QLoRA side by side
18. `flops` — what a token costs in operations
19. `step_time` — what a step costs in seconds, cause by cause
20. `compute` — time, energy and cost of a number of tokens
21. `solve` — fewest cards, largest batch, longest sequence
22. `largest_model` — the largest model that each card can train
23. `changes` — what can be changed in a job
24. `advice` — what a change saves and costs; the least set that fits
25. `answer` — the answer as plain data
26. `report` — the answer for a person at a terminal
27. `accuracy` — what steps were seen to hold, beside what the plan says
28. `memory_planner` — the planner of the page: a state in, all it shows out
29. `method_decision` — full, LoRA, QLoRA or a prompt: which first, and what would flip it
30. `ask` — what the page asks of both, by name
31. `lab` — experiments small enough to run while one reads
32. `__main__` — the command line
"""

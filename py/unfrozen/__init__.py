"""The pure core of Unfrozen: memory, schedules, optimizers and names; standard library only.

Nothing here reads a file, a clock or a network, so CPython, the reader's browser and the trainer
run the same files and get the same numbers. Only `__main__` touches files.

Reading order (each module uses only those above it; packages give their own order):

1. `errors` — one shape for every refusal: key, value, bound, remedy
2. `units` — GB and GiB, three significant digits
3. `events` — the words the trainer writes and the page reads
4. `cell_json` — strict readers for what a cell assigned
5. `publish` — the tables and plots a cell may hand to the page
6. `typed` — a number as a reader types it
7. `guesses` — what a reader expects of a cell, beside what it shows
8. `schedules` — learning rate as a pure function of the step
9. `model` — from config.json to the exact tensors of a model
10. `catalogue` — published models and their real sizes
11. `gpus` — cards, what they hold and who says so
12. `boards` — what they draw, and how fast they talk
13. `recipe` — how a model is trained
14. `cluster` — on how many cards
15. `optimizers` — AdamW by hand; when a bf16 weight does not move
16. `memory` — what a training step holds, by component and by instant
17. `job` — the planner's question
18. `plan` — its answer
19. `methods` — full fine-tuning, LoRA and QLoRA side by side
20. `flops` — what a token costs in operations
21. `step_time` — what a step costs in seconds, cause by cause
22. `compute` — time, energy and cost of a number of tokens
23. `solve` — fewest cards, largest batch, longest sequence
24. `changes` — what can be changed in a job
25. `advice` — what a change saves and costs; the least set that fits
26. `answer` — the answer as plain data
27. `report` — the answer for a person at a terminal
28. `accuracy` — what steps were seen to hold, beside what the plan says
29. `memory_planner` — the planner of the page: a state in, all it shows out
30. `exercises` — the quiz: random jobs to work out, and answers judged
31. `ask` — what the page's own interpreter is asked
32. `lab` — experiments small enough to run while one reads
33. `__main__` — the command line
"""

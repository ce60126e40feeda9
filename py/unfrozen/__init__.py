"""The pure core of Unfrozen: memory, schedules, optimizers and names; standard library only.

Nothing here reads a file, a clock or a network, so CPython, the reader's browser and the trainer
run the same files and get the same numbers. Only `__main__` touches files.

Reading order (each module uses only those above it; packages give their own order):

- `errors` — one shape for every refusal: key, value, bound, remedy
- `units` — GB and GiB, three significant digits
- `events` — the words the trainer writes and the page reads
- `cell_json` — strict readers for what a cell assigned
- `publish` — the tables and plots a cell may hand to the page
- `frontier` — what comes from outside, checked for shape, type, length and order
- `typed` — a number as a reader types it
- `guesses` — what a reader expects of a cell, beside what it shows
- `schedules` — learning rate as a pure function of the step
- `layers` — the layer of a weight, and its share of the rate
- `order` — in which order rows are seen
- `model` — from config.json to the exact tensors of a model
- `catalogue` — published models and their real sizes
- `gpus` — cards, what they hold and who says so
- `boards` — what they draw, and how fast they talk
- `recipe` — how a model is trained
- `cluster` — on how many cards
- `runner` — what the runner can do, in its words and in those of a recipe
- `number_formats` — how numbers are written in memory, and the gaps between them
- `optimizers` — AdamW by hand; when a bf16 weight does not move
- `memory` — what a training step holds, by component and by instant
- `job` — the planner's question
- `plan` — its answer
- `methods` — full fine-tuning, LoRA and QLoRA side by side
- `flops` — what a token costs in operations
- `step_time` — what a step costs in seconds, cause by cause
- `timeline` — two steps through time, turn by turn
- `compute` — time, energy and cost of a number of tokens
- `solve` — fewest cards, largest batch, longest sequence
- `largest_model` — the largest model that each card can train
- `changes` — what can be changed in a job
- `advice` — what a change saves and costs; the least set that fits
- `answer` — the answer as plain data
- `report` — the answer for a person at a terminal
- `accuracy` — what steps were seen to hold, beside what the plan says
- `memory_planner` — the planner of the page: a state in, all it shows out
- `method_decision` — full, LoRA, QLoRA or a prompt: which first, and what would flip it
- `exercises` — the quiz: random jobs to work out, and answers judged
- `ask` — what the page's own interpreter is asked
- `lab` — experiments small enough to run while one reads
- `__main__` — the command line
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`__version__`, as pyproject.toml gave it to what is installed; asked for when it is wanted.

    Raises AttributeError for other names, and where nothing is installed, as in the page.
    """
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("unfrozen")
        except PackageNotFoundError:
            raise AttributeError("unfrozen is not installed here: it has no version") from None
    raise AttributeError(f"module 'unfrozen' has no attribute {name!r}")

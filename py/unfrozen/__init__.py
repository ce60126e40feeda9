"""The pure-Python core of Unfrozen: memory, time, schedules and names; standard library only.

Nothing here reads a clock, a network or a file of the reader, so CPython, the browser and the
trainer run the same files and get the same numbers. `data_files` reads the data files of this
package; only `request`, `hub`, `__main__` and the runner touch other files, and read those by
`plain`.

Reading order (each module uses only those above it; packages give their own order):

- `errors` — exceptions with key, value, bound and remedy
- `shell` — what a terminal shows of untrusted text, and words as one types them
- `data_files` — the JSON tables that are part of this package: models, GPUs
- `plain` — files of others: no pipe, no device, only so many bytes
- `units` — bytes and numbers, formatted and parsed: GB and GiB, three significant digits
- `events` — names that the trainer writes and the page reads
- `held_out` — held-out examples: how they are answered, how sure a mean over them is
- `schema` — the shape, type, length and order of everything that comes from outside
- `publish` — the tables and plots a cell may hand to the page
- `imported` — logs of other tools as runs
- `guesses` — what a reader expects of a cell, beside what the cell publishes
- `number_formats` — floating-point formats, rounding to bf16
- `adamw` — AdamW by hand
- `training_data` — rows, how long they are, how often and in which order they are seen
- `schedules` — learning rate as a pure function of the step
- `parameter_groups` — parameters by layer, part and pattern
- `model` — from config.json to the exact tensors of a model, and published ones
- `hardware` — GPUs, what they hold, how fast they are
- `job` — a planned job: model, recipe, cluster, GPU
- `runner` — what the runner supports, as its settings and as those of a recipe
- `memory` — the memory of a training step, by component and by instant
- `plan` — the plan of a job: memory, time, cost, advice
- `answer` — a plan as data, as text, and beside measurements
- `planner` — the planner of the page: from a state to all that it shows
- `frameworks` — a layout as commands of the frameworks, and the fastest layouts
- `project` — from a model, data, and GPUs or a budget to one plan
- `decision` — full, LoRA, QLoRA or a prompt: which first, and what would change that
- `exercises` — the quiz: random jobs to work out, and a judge of answers
- `ask` — calls of functions of the core by name, for the page
- `lab` — experiments that run in the page
- `hub` — a model by any of its names, of the Hugging Face hub too
- `request` — `plan(…)`: a request with its files, and its answer
- `__main__` — the command line
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # what the package of that name does when it is called
    from unfrozen.request import plan as plan

_WATCHING: Final = {
    "watch": "gpu_runner.watch",
    "WatchedRun": "gpu_runner.watch",
    "Callback": "gpu_runner.watch.callback",
    "Tracker": "gpu_runner.watch.tracker",
    "LightningCallback": "gpu_runner.watch.lightning",
}
"""Names of the watcher of training loops, imported on first use: it needs PyTorch."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the random numbers of Python, numpy and PyTorch after a block or a function.

    Importing a library may draw from them (rich does), and so may a model that is evaluated. Only
    generators of modules that are loaded already can have been seeded.
    """
    python, numpy, torch = (sys.modules.get(name) for name in ("random", "numpy.random", "torch"))
    states = (
        python and python.getstate(),
        numpy and numpy.get_state(),
        torch and torch.get_rng_state(),
    )
    cuda = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        if python:
            python.setstate(states[0])
        if numpy:
            numpy.set_state(states[1])
        if torch:
            torch.set_rng_state(states[2])
        if torch and cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def __getattr__(name: str) -> Any:
    """Return a name of the watcher, or the `__version__` that pyproject.toml gave the package.

    Raises AttributeError for other names, ImportError where what they need is not installed.
    """
    from importlib import import_module

    if name in _WATCHING:
        try:
            with undisturbed():
                return getattr(import_module(_WATCHING[name]), name)
        except ModuleNotFoundError as error:
            is_planner = error.name == "gpu_runner"
            remedy = "install the wheel of unfrozen" if is_planner else "see `unfrozen doctor`"
            raise ImportError(f"unfrozen.{name} needs {error.name}: {remedy}") from None
    if name == "plan":
        return import_module("unfrozen.plan")
    if name == "__version__":
        from importlib.metadata import distributions

        for name in ("unfrozen-planner", "unfrozen"):  # the second is a clone's
            for found in distributions(name=name):
                return found.version
        raise AttributeError("unfrozen is not installed here: it has no version")
    raise AttributeError(f"module 'unfrozen' has no attribute {name!r}")

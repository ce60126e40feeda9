"""What the command line leaves out, filled in: a whole and checked record of choices.

From the demo's recipe when the demo model is trained on its own task, from the defaults of
`schema` otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from gpu_runner.config import bounds
from gpu_runner.config.schema import DEMO, INSTRUCT, TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.installed import runs_folder


def resolve(options: Mapping[str, Any]) -> TrainConfig:
    """Fill in what `options` leaves out (absent or None) and check every bound.

    Raises `UsageError` with the option, its value, the bound and the remedy.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "model" not in given:
        raise UsageError(
            f"--model is missing: give {DEMO}, a directory, a Hugging Face id, or a .gguf file."
        )
    if "data" not in given and given.get("model") != DEMO:
        raise UsageError(
            f"--data is missing: model {given.get('model')!r} has no task of its own. Give a JSONL"
            f" file, or --data {INSTRUCT} for the instruction rows that ship with the runner."
        )
    given.setdefault("data", DEMO)
    if DEMO in (given.get("replay"), given.get("fisher_data")):
        from gpu_runner.demo import earlier

        given |= {k: str(earlier()) for k in ("replay", "fisher_data") if given.get(k) == DEMO}
    if given["model"] == DEMO and given["data"] == DEMO:
        from gpu_runner.demo import choices

        given = choices() | given
        if options.get("warmup") is None:
            given["warmup"] = min(given["warmup"], given["steps"])
    if {"steps", "epochs"} <= given.keys():
        if options.get("steps") is not None and options.get("epochs") is not None:
            raise UsageError(
                f"--steps {given['steps']} and --epochs {given['epochs']} both set the length of"
                " the run: give one of them."
            )
        del given["steps"]  # the demo's default yields to the user's --epochs
    if not {"steps", "epochs"} & given.keys():
        given["epochs"] = 1.0
    given.setdefault("runs", str(runs_folder()))
    given.setdefault("today", date.today().isoformat())
    config = TrainConfig(**given)
    bounds.check(config)
    bounds.check_used(options, config)
    return config

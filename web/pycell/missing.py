"""Explains why a cell cannot import a module, and what to write instead."""

from __future__ import annotations

import sys

CARRIED = ("numpy", "micropip", "packaging")
HERE = "Python's standard library, unfrozen, numpy, micropip and packaging"


RENAMED = {
    "accuracy": "answer.accuracy",
    "advice": "plan.advice",
    "boards": "hardware.gpus",
    "catalogue": "model.catalogue",
    "changes": "plan.advice",
    "cluster": "job.cluster",
    "compute": "plan.compute",
    "flops": "plan.flops",
    "frontier": "schema",
    "gpus": "hardware.gpus",
    "guesses": "reader.guesses",
    "hardware.boards": "hardware.gpus",
    "hardware.reached": "hardware.rates",
    "job.choices": "job.settings",
    "job.framework": "job.framework_defaults",
    "job.targets": "job.lora",
    "largest_model": "plan.largest_model",
    "layers": "training.parameter_groups",
    "memory.attention": "memory.activations",
    "memory.checkpoints": "memory.activations",
    "memory.early": "memory.backward",
    "memory.flow": "memory.layer_setup",
    "memory.holder": "memory.explain",
    "memory.in_flight": "memory.pipeline_schedules",
    "memory.kept": "memory.saved_activations",
    "memory.kinds": "memory.saved_activations",
    "memory.low_rank": "memory.states",
    "memory.mixed": "memory.saved_activations",
    "memory.pieces": "memory.points",
    "memory.working": "memory.workspace",
    "memory_planner": "planner",
    "method_decision": "decision",
    "methods": "plan.methods",
    "number_formats": "training.number_formats",
    "optimizers": "training.optimizers",
    "order": "training.order",
    "plan.changes": "plan.advice",
    "plan.dimensions": "plan.layouts",
    "plan.host": "plan.host_memory",
    "recipe": "job.recipe",
    "report": "answer.text",
    "solve": "plan.solve",
    "step_time": "plan.step_time",
    "timeline": "plan.timeline",
    "typed": "reader.typed",
}
"""Modules of `unfrozen` in version 0.1 whose name has changed, and what they are called now."""


def note_on_renamed(module: str) -> str:
    """Return what `unfrozen.catalogue` is called now; empty for a module that was never renamed."""
    package, _, name = module.partition(".")
    while package == "unfrozen" and name:
        if name in RENAMED:
            return f"unfrozen.{name} is called unfrozen.{RENAMED[name]} now."
        name = name.rpartition(".")[0]
    return ""


def note_on(name: str) -> str:
    """Return one or two sentences on a top-level module that could not be found."""
    if name in CARRIED:
        return (
            f"{name} is here, but this cell's text did not name it before it ran. "
            f"Write `import {name}` in it and run it again."
        )
    if name == "gpu_runner":
        return (
            "Of gpu_runner, a cell can only have `from gpu_runner import demo`, written like this; "
            "the rest needs PyTorch and runs on your own machine."
        )
    if name in sys.stdlib_module_names:
        return f"{name} is a part of the standard library that Python in a browser does not have."
    return (
        f"Cells of this page have {HERE}. For {name}, take the code to the Python of your own "
        f"machine."
    )


def refusal_to_install(name: str, version: str) -> str:
    """Why micropip cannot install a package; `version` is the one that is here, empty if none."""
    if version:
        return f"{name} is here in version {version} and in no other."
    return (
        f"{name} is not here, and this page fetches nothing from anywhere else: its cells have "
        f"{HERE}. On your own machine, `pip install {name}` may have it."
    )

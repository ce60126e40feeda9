"""Where the modules of older names are: `unfrozen.catalogue` is `unfrozen.model.catalogue`.

Readers keep cells of their own, and these import what the article taught them to. An older name
gives the very module of the newer one, without a warning. A name that became a package
(`unfrozen.job`, `unfrozen.plan`, `unfrozen.answer`) needs no line here: the package exports what
the module did.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

MOVED: Final = {
    "accuracy": "answer.accuracy",
    "advice": "plan.advice",
    "boards": "hardware.rates",
    "catalogue": "model.catalogue",
    "changes": "plan.changes",
    "cluster": "job.cluster",
    "compute": "plan.compute",
    "flops": "plan.flops",
    "gpus": "hardware.gpus",
    "guesses": "reader.guesses",
    "largest_model": "plan.largest_model",
    "layers": "training.layers",
    "memory_planner": "planner",
    "method_decision": "decision",
    "methods": "plan.methods",
    "number_formats": "training.number_formats",
    "optimizers": "training.optimizers",
    "order": "training.order",
    "recipe": "job.recipe",
    "report": "answer.text",
    "solve": "plan.solve",
    "step_time": "plan.step_time",
    "timeline": "plan.timeline",
    "typed": "reader.typed",
    "decision.choices": "decision.task",
    "decision.commands": "decision.sentences",
    "decision.controls": "decision.task",
    "decision.flips": "decision.ranking",
    "decision.training": "decision.options",
    "decision.words": "decision.sentences",
    "job.choices": "job.settings",
    "job.framework": "job.framework_defaults",
    "job.habits": "job.framework_defaults",
    "job.targets": "job.lora",
    "planner.command": "planner.commands",
    "planner.entries": "planner.state",
    "planner.formulas": "planner.numbers",
    "planner.keys": "planner.state",
    "planner.knobs": "planner.controls",
    "planner.launch": "planner.runner",
    "planner.ways": "planner.advice",
}
"""Older names below `unfrozen.`, modules and packages, by what they are now."""


def newer_name(name: str) -> str | None:
    """The full name that a module has now; None for one that never moved, or is not of ours.

    >>> newer_name("unfrozen.memory_planner.state")
    'unfrozen.planner.state'
    """
    package, _, rest = name.partition(".")
    first, dot, more = rest.partition(".")
    if package != "unfrozen":
        return None
    newer = f"{MOVED[first]}{dot}{more}" if first in MOVED else rest
    newer = MOVED.get(newer, newer) if "." in newer else newer
    return None if newer == rest else f"{package}.{newer}"


class MovedFinder:
    """Finds older names on `sys.meta_path`, as their newer ones. It stands first there.

    Behind the finder of files it would come too late: that looks into the folder of a moved
    package, finds `state.py` and makes a second module `unfrozen.memory_planner.state` of it.
    """

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        """The spec of an older name; None for all others, which later finders are asked for."""
        if newer_name(name) is None:
            return None
        from importlib.machinery import ModuleSpec  # asked for by few

        return ModuleSpec(name, MovedFinder)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave it to Python: what it makes is a placeholder."""

    @staticmethod
    def exec_module(placeholder: ModuleType) -> None:
        """Put the module itself in place of the placeholder; Python takes what stands there."""
        from importlib import import_module
        from pkgutil import iter_modules

        name = placeholder.__name__
        newer = str(newer_name(name))
        module = sys.modules[name] = import_module(newer)
        # Imported one by one, each would be set on its package, over a function of that name.
        parts = [part.name for part in iter_modules(getattr(module, "__path__", ()))]
        package = f"{newer.removeprefix('unfrozen.')}."
        parts += [key.removeprefix(package) for key in MOVED if key.startswith(package)]
        for part in parts:
            now = f"{newer}.{part}"
            sys.modules[f"{name}.{part}"] = import_module(newer_name(now) or now)


def serve_older_names() -> None:
    """Let older names be imported, once however often this is called."""
    if MovedFinder not in sys.meta_path:
        sys.meta_path.insert(0, MovedFinder)

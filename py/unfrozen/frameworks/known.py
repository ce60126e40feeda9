"""The frameworks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.frameworks import accelerate, deepspeed, megatron, ours, torchtitan
from unfrozen.job import Job


@dataclass(frozen=True, slots=True)
class Framework:
    """`takes` makes its own job of one, or raises PlanError; `command` is what to type for that."""

    name: str
    label: str
    takes: Callable[[Job], Job]
    command: Callable[[Job], str]


def _framework(module: ModuleType, label: str) -> Framework:
    return Framework(module.NAME, label, module.takes, module.command)


FRAMEWORKS: Final = {
    found.name: found
    for found in (
        _framework(torchtitan, "torchtitan"),
        _framework(megatron, "Megatron-LM"),
        _framework(deepspeed, "DeepSpeed, TRL"),
        _framework(accelerate, "accelerate, TRL"),
        _framework(ours, "unfrozen train"),
    )
}

LAUNCHED: Final = {
    **{name: name for name in FRAMEWORKS},
    **dict.fromkeys(("trl", "transformers"), accelerate.NAME),
}
"""Who starts a job that takes the defaults of a framework (`unfrozen.job.framework`)."""


def commands(job: Job) -> dict[str, str]:
    """What to type for this very job, by framework: those that would change it are left out."""
    found = {}
    for name, framework in FRAMEWORKS.items():
        try:
            if framework.takes(job) == job:
                found[name] = framework.command(job)
        except PlanError:
            continue
    return found

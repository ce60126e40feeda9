"""The memory of the first steps over time.

The turns are the points among which the memory model looks for the peak of a step. Between two of
them memory changes layer by layer: a straight line. Seconds are those of `unfrozen.plan.step_time`,
matmuls sharded by their operations, the update taking what is left.

The first step differs in one thing. An optimizer makes its moments when it first needs them, in the
update; so everything before that runs without them, and everything after it with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.memory.instants import Components, Step, merged
from unfrozen.memory.points import Point
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import step_time

PHASES: Final = ("forward", "backward", "update")


@dataclass(frozen=True, slots=True)
class Turn:
    """The memory `seconds` after the first step began, at the end of a phase."""

    step: int
    phase: str
    seconds: float
    held: Components

    @property
    def total(self) -> int:
        """Bytes of all components."""
        return sum(self.held.values())


def timeline(job: Job, steps: int = 2) -> list[Turn]:
    """Return the points of so many steps from the first one, in order.

    Raises PlanError for what makes a step another story: several GPUs, accumulation, an update
    within the backward pass, adapters.
    """
    _check(job)
    step = Step(job.model, job.recipe, job.cluster)
    durations = _durations(job)
    turns: list[Turn] = []
    for number in range(1, steps + 1):
        held = {name: size for name, size in step.states.items() if name != "grads"}
        start = turns[-1].seconds if turns else 0.0
        turns += _one_step(step, number, start, held, durations)
    return turns


def _one_step(
    step: Step, number: int, start: float, held: Components, durations: dict[str, float]
) -> list[Turn]:
    before = held if number > 1 else {k: v for k, v in held.items() if k != "moments"}
    grads, part = step.states["grads"], step.micro_batch
    end_layers = start + durations["layers"]
    end_forward = end_layers + durations["head"]
    end_head = end_forward + durations["head_back"]
    end_backward = end_head + durations["layers_back"]
    found = [Turn(number, "forward", start, _present(before))]

    def add(phase: str, seconds: float, point: Point) -> None:
        found.append(Turn(number, phase, seconds, _present(merged(before, point))))

    add("forward", end_layers, part.saved_point())
    loss, head, after = part.forward_points()
    add("forward", end_forward, loss)
    add("backward", end_head, head)
    add("backward", end_head, after)
    for seconds, point in _way_back(step, end_head, end_backward):
        add("backward", seconds, point)
    end = end_backward + durations["update"]
    update = merged(held | {"grads": grads}, step.points["optimizer_step"])
    found.append(Turn(number, "update", end, _present(update)))
    found.append(Turn(number, "update", end, _present(held)))
    return found


def _way_back(step: Step, start: float, end: float) -> list[tuple[float, Point]]:
    """Return points of the backward pass: the layers from last to first, the embedding, the end.

    The first and the last layer have their highest point in the middle of their own time.
    """
    norm, *inside, embedding, last = step.micro_batch.layer_points()
    half = (end - start) / step.local.architecture.layers / 2
    middle = len(inside) // 2
    timed = [(start, norm)]
    timed += [(start + half, point) for point in inside[:middle]]
    timed += [(end - half, point) for point in inside[middle:]]
    return [*timed, (end - half / 2, embedding), (end, last)]


def _durations(job: Job) -> dict[str, float]:
    """Return the seconds of the parts of a step."""
    a, each, time = job.model.architecture, flops(job), step_time(job)
    second = time.passes / each.total
    head = 0.0 if job.recipe.loss == "classification" else 2.0 * a.vocab * a.hidden
    return {
        "layers": second * (each.forward - head),
        "head": second * head,
        "head_back": second * 2 * head,
        "layers_back": second * (each.backward + each.recompute - 2 * head),
        "update": time.seconds - time.passes,
    }


def _present(held: Components) -> Components:
    return {name: size for name, size in held.items() if size}


def _check(job: Job) -> None:
    recipe = job.recipe
    if job.cluster.gpus > 1:
        raise PlanError("cluster.gpus", job.cluster.gpus, "a timeline has one GPU", "set it to 1")
    if recipe.method != "full":
        bound = "a timeline is drawn where every weight trains"
        raise PlanError("recipe.method", recipe.method, bound, "set it to full")
    if recipe.optimizer_in_backward or recipe.resident_grads(job.model.architecture.labels > 0):
        bound = "gradients must come and go within one step"
        raise PlanError("recipe", "this one", bound, "set grad_accum to 1, and a plain optimizer")

"""The post-mortem: `post_mortem(error, scene)` in words for a person, and as data for the page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from gpu_runner.oom.scene import DOING, Scene, Sizes
from gpu_runner.oom.thrown import Thrown
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.units import MIB, format_bytes

MOST_OTHERS: Final = 8
MOST_SETTINGS: Final = 3
_KNOWN: Final = ("params", "grads", "moments")  # told apart by identity wherever memory is measured
_REST: Final = "rest"
_REST_WORDS: Final = "Activations, logits and workspace"
_NOTICED: Final = 0.01  # of the whole prediction; less is no finding


class Beyond(NamedTuple):
    """A component that was larger than predicted, or was about to be."""

    component: str
    predicted_bytes: int
    measured_bytes: int

    def __str__(self) -> str:
        more = self.measured_bytes - self.predicted_bytes
        share = f", {more / self.predicted_bytes:.0%}" if self.predicted_bytes else ""
        return (
            f"{_label(self.component)} needed {format_bytes(self.measured_bytes)},"
            f" {format_bytes(more)} more than predicted{share}"
        )


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Why memory ran out: one sentence, facts as (name, text), settings that would have fitted."""

    scene: Scene
    thrown: Thrown
    beyond: Beyond | None
    sentence: str
    facts: tuple[tuple[str, str], ...]
    advice: str

    def __str__(self) -> str:
        lines = [f"{name}: {text}" for name, text in self.facts]
        settings = [f"  {one.options}   ({one})" for one in self.scene.settings]
        return "\n".join([*lines, self.advice, *settings])

    def payload(self) -> dict[str, Any]:
        """The `post_mortem` of a `run.end` event; what is unknown is left out."""
        scene = self.scene
        at = scene.instant
        parts: dict[str, Any] = {
            "doing": scene.doing,
            "step": scene.step,
            "micro_batch": scene.micro_batch,
            "micro_batches": scene.micro_batches,
            "batch": asdict(scene.batch) if scene.batch else None,
            "instant": at,
            "asked_bytes": self.thrown.asked_bytes,
            "held": _known(asdict(scene.held)),
            "predicted": dict(scene.predicted.get(at, {})),
            "measured": dict(scene.measured.get(at, {})),
            "beyond": self.beyond._asdict() if self.beyond else None,
            "others": [_known(asdict(one)) for one in scene.others[:MOST_OTHERS]],
            "budget_bytes": scene.budget_bytes,
            "facts": [{"name": name, "text": text} for name, text in self.facts],
            "advice": self.advice,
            "settings": [asdict(one) | {"text": str(one)} for one in scene.settings],
        }
        return _known(parts)


def post_mortem(error: BaseException, scene: Scene) -> PostMortem:
    """Why `error` came, by what `scene` knows; of the settings the first MOST_SETTINGS are told.

    Never raises for what is unknown: the sentence about it is left out.
    """
    thrown = Thrown.of(error)
    beyond = _beyond(scene, thrown.asked_bytes)
    told = {
        "Where": _where(scene),
        "Asked for": _asked(scene, thrown),
        "Bound": _bound(scene, thrown),
        "Predicted": _compared(scene, beyond),
        "Other processes": _others(scene),
        "In pieces": _pieces(thrown),
    }
    facts = tuple((name, text[0].upper() + text[1:]) for name, text in told.items() if text)
    first = (str(error).splitlines() or [type(error).__name__])[0][:500]
    asked = f"; there was no room for {told['Asked for']}" if told["Asked for"] else f" ({first})"
    sentence = f"{told['Where']}{asked}"
    return PostMortem(scene, thrown, beyond, sentence, facts, _advice(scene))


def _where(scene: Scene) -> str:
    doing = DOING.get(scene.doing, scene.doing)
    if not scene.micro_batch:
        return f"{doing}, after step {scene.step:,}" if scene.step else f"{doing}, before step 1"
    several = scene.micro_batches > 1
    part = f", micro-batch {scene.micro_batch:,} of {scene.micro_batches:,}" if several else ""
    batch = f": {scene.batch}" if scene.batch else ""
    if scene.doing == "backward" and scene.now == "end_of_forward":
        doing += " of head and loss"
    return f"step {scene.step:,}{part}, {doing}{batch}"


def _asked(scene: Scene, thrown: Thrown) -> str:
    if not thrown.asked_bytes:
        return ""
    free = thrown.free_bytes or scene.held.free_bytes
    largest = scene.held.largest_free_bytes
    block = f", the largest free block had {format_bytes(largest)}" if largest else ""
    left = f"; {format_bytes(free)} were free" if free or scene.held.total_bytes else ""
    return f"a block of {format_bytes(thrown.asked_bytes)}{left}{block}"


def _bound(scene: Scene, thrown: Thrown) -> str:
    held = scene.held
    total = thrown.total_bytes or held.total_bytes
    if not total:
        return ""
    used = ""
    if allocated := thrown.allocated_bytes or held.allocated_bytes:
        used = f"; tensors held {format_bytes(allocated)}"
        unused = thrown.unused_bytes or max(0, held.reserved_bytes - held.allocated_bytes)
        used += f", the allocator {format_bytes(unused)} beside them" if unused else ""
    elif held.total_bytes:
        used = f", {format_bytes(held.total_bytes - held.free_bytes)} of it in use"
    return f"{held.name or 'memory'}: {format_bytes(total)}{used}"


def _compared(scene: Scene, beyond: Beyond | None) -> str:
    at = scene.instant
    predicted = sum(scene.predicted.get(at, {}).values())
    if not predicted:
        return ""
    label = INSTANTS.get(at, at).lower()
    measured = sum(scene.measured.get(at, {}).values())
    so_far = f", {format_bytes(measured)} measured so far" if measured else ""
    told = f"{format_bytes(predicted)} ({label}){so_far}"
    if beyond is not None:
        return f"{told}. {beyond}"
    if scene.budget_bytes and predicted > scene.budget_bytes:
        return f"{told}. There was room for {format_bytes(scene.budget_bytes)}: it could not fit"
    return f"{told}. Nothing was larger than predicted" if scene.now and measured else told


def _others(scene: Scene) -> str:
    shown = [str(one) for one in scene.others[:MOST_OTHERS]]
    more = len(scene.others) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more > 0 else shown)


def _pieces(thrown: Thrown) -> str:
    setting = os.environ.get("PYTORCH_ALLOC_CONF", os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""))
    if not thrown.in_pieces:
        return ""
    text = (
        f"the allocator kept {format_bytes(thrown.unused_bytes)} that no tensor used, in pieces"
        " that were all too small"
    )
    if "expandable_segments" in setting:
        return text
    return f"{text}: set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"


def _advice(scene: Scene) -> str:
    settings = scene.settings
    room = f" in {format_bytes(scene.budget_bytes)}" if scene.budget_bytes else ""
    if not settings:
        return "What would fit is not computed here: fewer rows at once, or shorter ones, need less"
    if any(one.fits for one in settings):
        return f"Any of these would have fitted{room}:" if room else "Each of these needs less:"
    return f"Nothing that can be set fits{room}; these need least:"


def _beyond(scene: Scene, asked_bytes: int) -> Beyond | None:
    """The component furthest beyond its prediction, with the refused block where it belongs."""
    at = scene.instant
    predicted, measured = scene.predicted.get(at, {}), scene.measured.get(at, {})
    if not predicted or not measured or not scene.now:
        return None
    found = dict(measured)
    if scene.growing and asked_bytes:
        found[scene.growing] = found.get(scene.growing, 0) + asked_bytes
    if scene.lumped:
        predicted, found = _lumped(predicted), _lumped(found)
    least = max(MIB, _NOTICED * sum(predicted.values()))
    larger = [
        Beyond(name, predicted.get(name, 0), size)
        for name, size in found.items()
        if size - predicted.get(name, 0) > least
    ]
    return max(larger, key=lambda one: one.measured_bytes - one.predicted_bytes, default=None)


def _lumped(sizes: Sizes) -> dict[str, int]:
    """What is no weight, gradient or moment, as one sum."""
    known = {name: size for name, size in sizes.items() if name in _KNOWN}
    return known | {_REST: sum(sizes.values()) - sum(known.values())}


def _label(component: str) -> str:
    return _REST_WORDS if component == _REST else COMPONENTS.get(component, component)


def _known(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty, which is unknown."""
    return dict(_kept(parts))


def _kept(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in parts.items():
        if value or isinstance(value, bool):
            yield name, value

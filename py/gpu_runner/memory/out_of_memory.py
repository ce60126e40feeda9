"""Out of memory: where it happened, what was larger than predicted, and what would have fit.

`describe_failure` collects what is known when memory runs out; `explain(error, failure)` returns
the report, as text for a person and as data for the page. Runs of ours and watched loops use both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple

from gpu_runner.memory.limit import (
    AllocatorMessage,
    MemoryLimit,
    OtherProcess,
    bytes_for_tensors,
    memory_budget,
)
from gpu_runner.memory.prediction import (
    MARGIN,
    MOST_SUGGESTIONS,
    STATES,
    Suggestion,
    highest_total,
)
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.units import MIB, format_bytes

Sizes = Mapping[str, int]
"""Bytes by component, in the names of `unfrozen.events`."""

ACTIVITIES: Final = {
    "forward": "in the forward pass",
    "backward": "in the backward pass",
    "optimizer_step": "in the optimizer step",
    "evaluating": "during evaluation",
    "saving": "while writing a checkpoint",
    "writing_samples": "while generating samples",
    "estimating_fisher": "while estimating the Fisher information",
    "between": "between two steps",
}
"""What a run can be doing, as text."""
_USUAL_INSTANT: Final = {  # where a phase usually peaks, if the step was not measured
    "forward": "end_of_forward",
    "backward": "end_of_forward",
    "optimizer_step": "optimizer_step",
}
MOST_OTHERS: Final = 8
_REST: Final = "rest"
_REST_LABEL: Final = "Activations, logits and workspace"
_NOTICED: Final = 0.01  # of the predicted total; smaller differences are not reported


@dataclass(frozen=True, slots=True)
class BatchSize:
    """A micro-batch: `rows` × `length` tokens, padding included, with loss at `loss_tokens`."""

    rows: int
    length: int
    loss_tokens: int

    def __str__(self) -> str:
        if self.length == 1:  # no text
            return f"{self.rows:,} examples"
        return f"{self.rows:,} × {self.length:,} tokens, loss at {self.loss_tokens:,} of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Where a run was when memory ran out, and what was in memory.

    doing          a key of ACTIVITIES
    step           the step in progress, from 1; outside a step the last one that was completed
    micro_batch    which one of how many, from 1; 0 outside a step
    predicted      instant → components, for this micro-batch where that could be computed
    measured       instant → components, so far
    measuring      the instant that was being measured; "" where the step was not measured
    growing        the component of the block that was refused; "" if unknown
    summed         whether everything but weights, gradients and moments was measured as one sum
    budget_bytes   how much memory tensors could have taken in all
    suggestions    settings that would have fit
    """

    doing: str = "between"
    step: int = 0
    micro_batch: int = 0
    micro_batches: int = 0
    batch: BatchSize | None = None
    predicted: Mapping[str, Sizes] = field(default_factory=dict)
    measured: Mapping[str, Sizes] = field(default_factory=dict)
    measuring: str = ""
    growing: str = ""
    summed: bool = False
    limit: MemoryLimit = field(default_factory=MemoryLimit)
    others: tuple[OtherProcess, ...] = ()
    budget_bytes: int = 0
    suggestions: tuple[Suggestion, ...] = ()

    @property
    def instant(self) -> str:
        """The instant whose prediction applies; "" outside a step."""
        return self.measuring or _USUAL_INSTANT.get(self.doing, "")

    @property
    def suggestion_bytes(self) -> int:
        """The peak that settings may have; less where the step exceeded its prediction."""
        predicted = sum(self.predicted.get(self.instant, {}).values())
        measured = sum(self.measured.get(self.instant, {}).values())
        share = min(1.0, predicted / measured) if predicted and measured else 1.0
        return round(share * self.budget_bytes)


def describe_failure(
    message: AllocatorMessage,
    limit: MemoryLimit,
    alive: Sizes,
    measured: Mapping[str, Sizes],
    *,
    on_gpu: bool,
    measuring: str = "",
    complete: bool = True,
    available_bytes: int | None = None,
    **where: Any,
) -> Failure:
    """Return the failure of a step with `alive` in memory, `measured` before it instant by instant.

    `alive` counts as measured where it is `complete`, at the instant `measuring` or where the phase
    usually peaks. Settings may fill a share of `available_bytes`, or of what tensors have and the
    limit still leaves, whichever is less. `where` are further fields of `Failure`.
    """
    failure = Failure(limit=limit, summed=on_gpu, **where)
    if alive and complete and failure.micro_batch:
        in_update = failure.doing == "optimizer_step"
        measuring = measuring or ("optimizer_step" if in_update else "end_of_forward")
        measured = {**measured, measuring: alive}
    most = available_bytes
    if most is None or on_gpu or alive:
        fits = bytes_for_tensors(limit, alive, on_gpu=on_gpu)
        most = fits if most is None else min(most, fits)
    peak = highest_total(failure.predicted)
    requested = message.requested_bytes
    return replace(
        failure,
        measured=measured,
        measuring=measuring if failure.micro_batch else "",
        budget_bytes=memory_budget(most, alive, requested, peak, MARGIN, on_gpu=on_gpu),
    )


class Excess(NamedTuple):
    """A component that was larger than predicted, or was about to be."""

    component: str
    predicted_bytes: int
    measured_bytes: int

    def __str__(self) -> str:
        more = self.measured_bytes - self.predicted_bytes
        share = f", {more / self.predicted_bytes:.0%}" if self.predicted_bytes else ""
        rest = self.component == _REST
        label = _REST_LABEL if rest else COMPONENTS.get(self.component, self.component)
        return (
            f"{label} needed {format_bytes(self.measured_bytes)},"
            f" {format_bytes(more)} more than predicted{share}"
        )


@dataclass(frozen=True, slots=True)
class OutOfMemoryReport:
    """Why memory ran out: one sentence, facts as (name, text), and advice before the settings."""

    failure: Failure
    message: AllocatorMessage
    excess: Excess | None
    sentence: str
    facts: tuple[tuple[str, str], ...]
    advice: str

    def __str__(self) -> str:
        lines = [f"{name}: {text}" for name, text in self.facts]
        settings = [f"  {one.options}   ({one})" for one in self.failure.suggestions]
        return "\n".join([*lines, self.advice, *settings])

    def payload(self) -> dict[str, Any]:
        """Return the `post_mortem` of a `run.end` event; what is unknown is left out."""
        failure, at = self.failure, self.failure.instant
        suggested = failure.suggestions
        fields: dict[str, Any] = {
            "doing": failure.doing,
            "step": failure.step,
            "micro_batch": failure.micro_batch,
            "micro_batches": failure.micro_batches,
            "batch": asdict(failure.batch) if failure.batch else None,
            "instant": at,
            "asked_bytes": self.message.requested_bytes,
            "held": _without_unknown(asdict(failure.limit)),
            "predicted": dict(failure.predicted.get(at, {})),
            "measured": dict(failure.measured.get(at, {})),
            "beyond": self.excess._asdict() if self.excess else None,
            "others": [_without_unknown(asdict(one)) for one in failure.others[:MOST_OTHERS]],
            "budget_bytes": failure.budget_bytes,
            "facts": [{"name": name, "text": text} for name, text in self.facts],
            "advice": self.advice,
            "settings": [asdict(one) | {"text": str(one)} for one in suggested[:MOST_SUGGESTIONS]],
        }
        return _without_unknown(fields)


def explain(error: BaseException, failure: Failure) -> OutOfMemoryReport:
    """Return the report of `error` from what is known of the `failure`.

    Never raises: a fact that is unknown is left out.
    """
    message = AllocatorMessage.parse(error)
    excess = _largest_excess(failure, message.requested_bytes)
    where, requested = _describe_place(failure), _describe_request(failure, message)
    texts = {
        "Where": where,
        "Requested": requested,
        "Limit": _describe_limit(failure.limit, message),
        "Predicted": _compare(failure, excess),
        "Other processes": _list_others(failure),
        "Fragmentation": _describe_fragments(message),
    }
    facts = tuple((name, text[0].upper() + text[1:]) for name, text in texts.items() if text)
    first = (str(error).splitlines() or [type(error).__name__])[0][:500]
    sentence = where + (f"; there was no room for {requested}" if requested else f" ({first})")
    return OutOfMemoryReport(failure, message, excess, sentence, facts, _advise(failure))


def _describe_place(failure: Failure) -> str:
    doing, step = ACTIVITIES.get(failure.doing, failure.doing), failure.step
    if not failure.micro_batch:
        return f"{doing}, after step {step:,}" if step else f"{doing}, before step 1"
    count = failure.micro_batches
    part = f", micro-batch {failure.micro_batch:,} of {count:,}" if count > 1 else ""
    batch = f": {failure.batch}" if failure.batch else ""
    if failure.doing == "backward" and failure.measuring == "end_of_forward":
        doing += " of head and loss"
    return f"step {step:,}{part}, {doing}{batch}"


def _describe_request(failure: Failure, message: AllocatorMessage) -> str:
    if not message.requested_bytes:
        return ""
    limit = failure.limit
    free, largest = message.free_bytes or limit.free_bytes, limit.largest_free_bytes
    block = f", the largest free block had {format_bytes(largest)}" if largest else ""
    left = f"; {format_bytes(free)} were free" if free or limit.total_bytes else ""
    return f"a block of {format_bytes(message.requested_bytes)}{left}{block}"


def _describe_limit(limit: MemoryLimit, message: AllocatorMessage) -> str:
    total = message.total_bytes or limit.total_bytes
    if not total:
        return ""
    used = ""
    if allocated := message.allocated_bytes or limit.allocated_bytes:
        used = f"; tensors took {format_bytes(allocated)}"
        unused = message.unused_bytes or max(0, limit.reserved_bytes - limit.allocated_bytes)
        used += f", unused but reserved were {format_bytes(unused)}" if unused else ""
    elif limit.total_bytes:
        used = f", {format_bytes(limit.total_bytes - limit.free_bytes)} of it in use"
    return f"{limit.name or 'memory'}: {format_bytes(total)}{used}"


def _compare(failure: Failure, excess: Excess | None) -> str:
    at = failure.instant
    predicted = sum(failure.predicted.get(at, {}).values())
    if not predicted:
        return ""
    measured = sum(failure.measured.get(at, {}).values())
    so_far = f", {format_bytes(measured)} measured so far" if measured else ""
    text = f"{format_bytes(predicted)} ({INSTANTS.get(at, at).lower()}){so_far}"
    if excess is not None:
        return f"{text}. {excess}"
    if failure.budget_bytes and predicted > failure.budget_bytes:
        budget = format_bytes(failure.budget_bytes)
        return f"{text}. Only {budget} were available, so it could not fit"
    if failure.measuring and measured:
        return f"{text}. No component was larger than predicted"
    return text


def _list_others(failure: Failure) -> str:
    shown = [str(one) for one in failure.others[:MOST_OTHERS]]
    more = len(failure.others) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more > 0 else shown)


def _describe_fragments(message: AllocatorMessage) -> str:
    if not message.is_fragmented:
        return ""
    text = (
        f"the allocator had reserved {format_bytes(message.unused_bytes)} that no tensor used, in"
        " blocks that were all too small"
    )
    setting = os.environ.get("PYTORCH_ALLOC_CONF", os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""))
    if "expandable_segments" in setting:
        return text
    return f"{text}: set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"


def _advise(failure: Failure) -> str:
    suggestions = failure.suggestions
    available = f" in {format_bytes(failure.budget_bytes)}" if failure.budget_bytes else ""
    if not suggestions:
        return (
            "What would have fit could not be computed; a smaller micro-batch or shorter sequences"
            " need less memory"
        )
    if any(one.fits for one in suggestions):
        if available:
            return f"Any of these would have fit{available}:"
        return "Each of these needs less memory:"
    return f"No combination of settings fits{available}; these need the least:"


def _largest_excess(failure: Failure, requested_bytes: int) -> Excess | None:
    """Return the component furthest above its prediction, the refused block included."""
    at = failure.instant
    predicted, measured = failure.predicted.get(at, {}), failure.measured.get(at, {})
    if not predicted or not measured or not failure.measuring:
        return None
    needed = dict(measured)
    if failure.growing and requested_bytes:
        needed[failure.growing] = needed.get(failure.growing, 0) + requested_bytes
    if failure.summed:
        predicted, needed = _with_rest(predicted), _with_rest(needed)
    least = max(MIB, _NOTICED * sum(predicted.values()))
    larger = [
        Excess(name, predicted.get(name, 0), size)
        for name, size in needed.items()
        if size - predicted.get(name, 0) > least
    ]
    return max(larger, key=lambda one: one.measured_bytes - one.predicted_bytes, default=None)


def _with_rest(sizes: Sizes) -> dict[str, int]:
    """Return the sizes with everything but weights, gradients and moments as one sum."""
    known = {name: size for name, size in sizes.items() if name in STATES}
    return known | {_REST: sum(sizes.values()) - sum(known.values())}


def _without_unknown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without empty values, which stand for the unknown."""
    return {n: value for n, value in fields.items() if value or isinstance(value, bool)}

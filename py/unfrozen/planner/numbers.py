"""The numbers beside the figures, each with its formula, its inputs and where it comes from."""

from __future__ import annotations

from typing import Final

from unfrozen.hardware.gpus import board_sources
from unfrozen.hardware.rates import peak_tflops
from unfrozen.job import Job
from unfrozen.memory.overhead import CONTEXT_RANGE, RESERVED_RANGE
from unfrozen.plan import Plan
from unfrozen.plan.compute import Estimate, estimate
from unfrozen.plan.record import band
from unfrozen.plan.step_time import card_of, step_tokens
from unfrozen.plan.timing.parts import CAUSES
from unfrozen.planner.figures import Json, band_text, overhead
from unfrozen.planner.formulas import why
from unfrozen.planner.peak import instant_label
from unfrozen.planner.sizes import duration_text, size_text
from unfrozen.units import format_count, gib, sig3, small

_ALLOCATOR: Final = "reserved ÷ allocated in public measurements: 1.007 to 1.14"


def memory_numbers(plan: Plan, unit: str) -> list[Json]:
    """What tensors hold, what the card must hold, and how sure that is."""
    parts = plan.instants[plan.peak_instant]
    beside = overhead(plan)
    inputs = [("tensors", size_text(plan.allocated_bytes, unit))]
    inputs += [
        (key, size_text(beside[key], unit))
        for key in ("reserve", "context", "communication")
        if key in beside
    ]
    extra = " + communication" if "communication" in beside else ""
    low, high = (gib(edge) for edge in CONTEXT_RANGE)
    return [
        _number(
            "allocated",
            "Held by tensors",
            size_text(plan.allocated_bytes, unit),
            f"the largest instant: {instant_label(plan.peak_instant).lower()}",
            " + ".join(parts),
            [(name, size_text(size, unit)) for name, size in parts.items()],
            "the maximum over the instants of a step, never their sum",
        ),
        _number(
            "device",
            "Taken on the card",
            size_text(plan.device_bytes, unit),
            "with the allocator's reserve and the driver",
            f"tensors + reserve + context{extra}",
            inputs,
            "counters of PyTorch's caching allocator, and of the driver",
        ),
        _number(
            "band",
            "Error band",
            band_text(plan, unit),
            "what overheads seen elsewhere allow",
            f"{RESERVED_RANGE[0]} … {RESERVED_RANGE[1]} · tensors + context{extra}",
            [*inputs[:1], ("context", f"{sig3(low)} … {sig3(high)} GiB")],
            _ALLOCATOR,
        ),
    ]


def run_numbers(job: Job, tokens: int, price: float | None) -> list[Json]:
    """How long a run takes and what it uses; estimates. Raises PlanError for absurd inputs."""
    found = estimate(job, tokens, price=price)
    numbers = [_speed(job, found), _time(job, found), _energy(job, found)]
    if found.cost is not None:
        numbers.append(
            _number(
                "cost",
                "Cost",
                small(found.cost),
                "in the currency of your price",
                "GPU-hours · price",
                [("GPU-hours", small(found.gpu_hours)), ("price", small(price or 0))],
                "your price",
            )
        )
    return numbers


def assumptions(job: Job, tokens: int) -> list[str]:
    """What the estimates take for granted, in sentences."""
    return list(estimate(job, tokens).assumptions)


def _speed(job: Job, found: Estimate) -> Json:
    peak = peak_tflops(card_of(job), job.recipe.compute)
    return _number(
        "speed",
        "Speed",
        f"{small(found.tokens_per_second)} tokens/s",
        f"a step of {step_tokens(job):,} tokens in {duration_text(found.step_seconds)};"
        f" {found.bound[:1].lower()}{found.bound[1:].rstrip('.')}",
        "tokens of a step ÷ seconds of a step",
        [
            ("tokens of a step", f"{step_tokens(job):,}"),
            ("seconds of a step", sig3(found.step_seconds)),
            ("operations a token", format_count(found.flops_per_token)),
            ("peak of a card", f"{peak:g} TFLOP/s"),
            ("share of it used", f"{100 * found.mfu:.0f}%"),
            *((CAUSES[name], f"{sig3(value)} s") for name, value in found.parts.items()),
        ],
        f"an estimate: {band(job)}",
    )


def _time(job: Job, found: Estimate) -> Json:
    cards = job.cluster.gpus
    return _number(
        "time",
        "Time",
        duration_text(found.seconds),
        f"for {format_count(found.tokens)} tokens; {small(found.gpu_hours)} GPU-hours",
        "tokens ÷ speed",
        [
            ("tokens", f"{found.tokens:,.0f}"),
            ("speed", f"{small(found.tokens_per_second)} tokens/s"),
            ("cards", f"{cards:,}"),
        ],
        f"an estimate: {band(job)}",
    )


def _energy(job: Job, found: Estimate) -> Json:
    watts = card_of(job).power_watts
    return _number(
        "energy",
        "Energy",
        f"{small(found.energy_kwh)} kWh",
        "the cards alone, at their power limit",
        "GPU-hours · watts ÷ 1000",
        [("GPU-hours", small(found.gpu_hours)), ("watts", f"{watts:,} a card")],
        f"board power of the {card_of(job).name}: {'; '.join(board_sources(card_of(job)))}",
    )


def _number(
    key: str,
    label: str,
    text: str,
    note: str,
    formula: str,
    inputs: list[tuple[str, str]],
    source: str,
) -> Json:
    told = why([(label, formula, text)], [(name, "", value) for name, value in inputs], [source])
    return {"key": key, "label": label, "text": text, "note": note, "why": told}

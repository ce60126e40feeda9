"""The numbers beside the figures, and the formula, the inputs and the source of every number."""

from __future__ import annotations

from typing import Final, cast

from unfrozen.hardware import board_sources, peak_tflops
from unfrozen.job import Job
from unfrozen.memory.explain import SYMBOLS, Term, explain
from unfrozen.model import ModelConfig
from unfrozen.plan import Plan
from unfrozen.plan.compute import Estimate, estimate
from unfrozen.plan.record import band, shown_words
from unfrozen.plan.step_time import CAUSES, job_gpu, step_tokens
from unfrozen.planner.controls import Json
from unfrozen.planner.figures import band_text, instant_label, overhead
from unfrozen.planner.state import State, config_address, model_name, model_source
from unfrozen.units import (
    NO_BREAK,
    format_count,
    format_duration,
    format_positive,
    format_size,
    gib,
    sig3,
)

_ALLOCATOR: Final = "PyTorch's caching allocator, replayed (docs/caching_allocator.py)"
_BLOCKS: Final = "blocks of gradients, logits and layers that serve nothing else"


def memory_numbers(plan: Plan, unit: str) -> list[Json]:
    """Return the memory of tensors, the GPU memory, and the error band."""
    parts = plan.instants[plan.peak_instant]
    beside = overhead(plan)
    inputs = [("tensors", format_size(plan.allocated_bytes, unit))]
    inputs += [
        (key, format_size(beside[key], unit))
        for key in ("reserve", "context", "communication", "rollouts")
        if key in beside
    ]
    extra = "".join(f" + {key}" for key in ("communication", "rollouts") if key in beside)
    low, high = (gib(edge) for edge in plan.context_range)
    return [
        _number(
            "allocated",
            "Tensors",
            format_size(plan.allocated_bytes, unit),
            f"the largest instant: {instant_label(plan.peak_instant).lower()}",
            " + ".join(parts),
            [(name, format_size(size, unit)) for name, size in parts.items()],
            "the maximum over the instants of a step, never their sum",
        ),
        _number(
            "device",
            "GPU memory",
            format_size(plan.device_bytes, unit),
            "with the allocator reserve and the driver",
            f"tensors + reserve + context{extra}",
            inputs,
            "counters of PyTorch's caching allocator, and of the driver",
        ),
        _number(
            "band",
            "Error band",
            band_text(plan, unit),
            shown_words(plan.job),
            f"tensors … tensors + reserve + 4% + context{extra}",
            [*inputs[:1], ("context", f"{sig3(low)} … {sig3(high)} GiB")],
            _ALLOCATOR,
        ),
    ]


def run_numbers(job: Job, tokens: int, price: float | None) -> list[Json]:
    """Return estimates of how long a run takes and what it uses. Raises PlanError."""
    found = estimate(job, tokens, price=price)
    numbers = [_speed(job, found), _time(job, found), _energy(job, found)]
    if found.cost is not None:
        numbers.append(
            _number(
                "cost",
                "Cost",
                format_positive(found.cost),
                "in the currency of your price",
                "GPU-hours · price",
                [
                    ("GPU-hours", format_positive(found.gpu_hours)),
                    ("price", format_positive(price or 0)),
                ],
                "your price",
            )
        )
    return numbers


def assumptions(job: Job, tokens: int) -> list[str]:
    """Return the assumptions of the estimates, in sentences."""
    return list(estimate(job, tokens).assumptions)


def _speed(job: Job, found: Estimate) -> Json:
    peak = peak_tflops(job_gpu(job), job.recipe.compute)
    seconds = format_duration(found.step_seconds, space=NO_BREAK)
    return _number(
        "speed",
        "Speed",
        f"{format_positive(found.tokens_per_second)} tokens/s",
        f"a step of {step_tokens(job):,} tokens in {seconds};"
        f" {found.bound[:1].lower()}{found.bound[1:].rstrip('.')}",
        "tokens of a step ÷ seconds of a step",
        [
            ("tokens of a step", f"{step_tokens(job):,}"),
            ("seconds of a step", sig3(found.step_seconds)),
            ("FLOPs a token", format_count(found.flops_per_token)),
            ("peak of a GPU", f"{peak:g} TFLOP/s"),
            ("share of it used", f"{100 * found.mfu:.0f}%"),
            *((CAUSES[name], f"{sig3(value)} s") for name, value in found.parts.items()),
        ],
        f"an estimate: {band(job)}",
    )


def _time(job: Job, found: Estimate) -> Json:
    gpus = job.cluster.gpus
    return _number(
        "time",
        "Time",
        format_duration(found.seconds, space=NO_BREAK),
        f"for {format_count(found.tokens)} tokens; {format_positive(found.gpu_hours)} GPU-hours",
        "tokens ÷ speed",
        [
            ("tokens", f"{found.tokens:,.0f}"),
            ("speed", f"{format_positive(found.tokens_per_second)} tokens/s"),
            ("GPUs", f"{gpus:,}"),
        ],
        f"an estimate: {band(job)}",
    )


def _energy(job: Job, found: Estimate) -> Json:
    gpu = job_gpu(job)
    watts = gpu.power_watts
    return _number(
        "energy",
        "Energy",
        f"{format_positive(found.energy_kwh)} kWh",
        "the GPUs alone, at their power limit",
        "GPU-hours · watts ÷ 1000",
        [("GPU-hours", format_positive(found.gpu_hours)), ("watts", f"{watts:,} a GPU")],
        f"board power of the {gpu.name}: {'; '.join(board_sources(gpu)) or 'assumed'}",
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
    why = explanation(
        [(label, formula, text)], [(name, "", value) for name, value in inputs], [source]
    )
    return {"key": key, "label": label, "text": text, "note": note, "why": why}


def model_facts(model: ModelConfig, state: State) -> Json:
    """Return the model in a line, name, size and shape, and what else is to be known of it: a
    sentence for each, and the address of a config.json that only stands in for it.
    """
    a = model.architecture
    shape = [f"{a.layers} layers", f"width {a.hidden:,}", f"{a.heads} heads"]
    shape.append(f"vocabulary {a.vocab:,}")
    if a.experts:
        shape.insert(1, f"{a.experts.count} experts")
    frozen = f", {format_count(model.frozen)} frozen" if model.frozen else ""
    source, notes = model_source(state), a.notes
    if source:  # whose note says it where all is a guess
        notes = [source.note, *(notes if source.origin != "size" else [])]
    return {
        "name": model_name(state) or "your config.json",
        "size": f"{format_count(model.num_parameters)} parameters{frozen}",
        "exact": f"{model.num_parameters:,}",
        "shape": ", ".join(shape),
        "notes": notes,
        "link": config_address(state),
    }


def with_formulas(bar: Json, plan: Plan, unit: str) -> Json:
    """Return the bar with `why` in each part: its terms, their inputs, and their sources."""
    explained = _tensor_terms(plan, unit) | _overhead_terms(plan, unit)
    parts = [
        part | {"why": explained[str(part["key"])]} for part in cast("list[Json]", bar["parts"])
    ]
    return bar | {"parts": parts}


def explanation(
    terms: list[tuple[str, str, str]], inputs: list[tuple[str, str, str]], sources: list[str]
) -> Json:
    """Return how a number is computed: (label, formula, size) of each term, (symbol, meaning,
    value) of each input, and the sources.
    """
    return {
        "terms": [list(term) for term in terms],
        "inputs": [list(entry) for entry in dict.fromkeys(inputs)],
        "sources": list(dict.fromkeys(sources)),
    }


def _tensor_terms(plan: Plan, unit: str) -> dict[str, Json]:
    """Return the terms of the peak by component."""
    groups: dict[str, list[Term]] = {}
    for term in explain(plan):
        groups.setdefault(term.component, []).append(term)
    return {
        component: explanation(
            [(term.label, term.formula, format_size(term.bytes, unit)) for term in terms],
            [(name, SYMBOLS.get(name, ""), value) for term in terms for name, value in term.inputs],
            [term.source for term in terms],
        )
        for component, terms in groups.items()
    }


def _overhead_terms(plan: Plan, unit: str) -> dict[str, Json]:
    least, most = (sig3(gib(edge)) for edge in plan.context_range)
    tensors = format_size(plan.allocated_bytes, unit)
    beside = {key: format_size(size, unit) for key, size in overhead(plan).items()}
    return {
        "reserve": explanation(
            [
                (
                    "what the allocator has reserved and no tensor uses",
                    _BLOCKS,
                    beside.get("reserve", ""),
                )
            ],
            [("tensors", "", tensors)],
            [_ALLOCATOR],
        ),
        "context": explanation(
            [
                (
                    "driver and kernels",
                    "seen of its processes, or 4 MiB × multiprocessors",
                    beside["context"],
                )
            ],
            [],
            [f"{least} to {most} GiB in public reports, by version and libraries"],
        ),
        "communication": explanation(
            [("buffers of NCCL", "a constant", beside.get("communication", ""))],
            [],
            ["1 to 2 GiB in public reports"],
        ),
        "rollouts": explanation(
            [("weights and KV cache of vLLM", "share · GPU", beside.get("rollouts", ""))],
            [("share", "vllm_gpu_memory_utilization", str(plan.job.recipe.rollout_share))],
            ["TRL 1.16, trl/trainer/grpo_config.py"],
        ),
    }

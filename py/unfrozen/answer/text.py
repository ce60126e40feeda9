"""A plan as plain text for a terminal: 100 columns at most, no colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.hardware import Gpu
from unfrozen.job import Job
from unfrozen.job.framework_defaults import AppliedDefault
from unfrozen.job.recipe import PAIRED
from unfrozen.memory.explain import Term, format_layout, format_peak_rank
from unfrozen.plan import DEFAULT_GPU, VERDICTS, Plan, format_gpu
from unfrozen.plan.advice import advise
from unfrozen.plan.compute import Estimate
from unfrozen.plan.record import chance_of, fits_words, most_words
from unfrozen.plan.solve import min_gpus
from unfrozen.plan.step_time import step_time, step_tokens
from unfrozen.units import format_bytes, format_count, format_duration, gib, sig3

WIDTH: Final = 100
_NOTHING: Final = "·"
_LEAST_GIB: Final = 0.01  # smaller cells show that they are


def table(rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return cells in columns two spaces apart, the first `left` ones flush left."""
    cells = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def wrapped(*texts: str) -> str:
    """Return texts in lines of `WIDTH` columns, each in lines of its own."""
    return "\n".join(line for text in texts for line in textwrap.wrap(text, WIDTH))


def report(planned: Plan) -> str:
    """Return the plan as text: components by instant, the verdict, and advice."""
    parts = [title(planned.job), framework_text(planned.job), instants_table(planned)]
    parts += [verdict(planned), advice_text(planned)]
    return "\n\n".join(part for part in parts if part)


def title(job: Job) -> str:
    """Return a job in one line."""
    count_text = f"{job.cluster.gpus:,} {'× ' if job.gpu else ''}" if job.cluster.gpus > 1 else ""
    where = job.gpu.name if job.gpu else "one GPU" if job.cluster.gpus == 1 else "GPUs"
    sharding = f", ZeRO-{job.cluster.stage}" if job.cluster.stage else ""
    sharding += "".join(f", {words}" for words in format_layout(job.cluster))
    held = {"parameters": job.model.num_parameters, "frozen": job.model.frozen}
    count = ", ".join(f"{format_count(many)} {word}" for word, many in held.items() if many)
    return (
        f"{job.model.architecture.model_type}, {count}, {recipe_words(job)},"
        f" {_batch(job)} tokens, {count_text}{where}{sharding}"
    )


OBJECTIVES: Final = {"dpo": "DPO", "grpo": "GRPO", "embedding": "embeddings of pairs"}


def recipe_words(job: Job, method: str | None = None) -> str:
    """Return a short description of the recipe: "adamw in bf16 with an fp32 master copy"; `method`
    is the name of its method, where it is not the short one.
    """
    recipe, precision = job.recipe, job.recipe.params
    if recipe.params == "fp32" and recipe.compute != "fp32":
        precision = f"fp32 with {recipe.compute} autocast"
    elif recipe.master:
        precision += " with an fp32 master copy"
    method = {"lora": "LoRA", "qlora": "QLoRA"}.get(recipe.method, "") if method is None else method
    said = (OBJECTIVES.get(recipe.objective), method, f"{recipe.optimizer} in {precision}")
    return ", ".join(filter(None, said))


def instants_table(planned: Plan) -> str:
    """Return a table of GiB by component (rows) and instant (columns), the peak marked."""
    names = [name for name in INSTANTS if name in planned.instants]
    used = [key for key in COMPONENTS if any(key in planned.instants[name] for name in names)]
    rows = [["GiB", *(INSTANTS[name] for name in names)]]
    rows += [
        [COMPONENTS[key], *(_cell(planned.instants[name].get(key, 0)) for name in names)]
        for key in used
    ]
    rows.append(["Total", *(_cell(sum(planned.instants[name].values())) for name in names)])
    rows.append(["", *("peak" if name == planned.peak_instant else "" for name in names)])
    return table(rows)


def verdict(planned: Plan) -> str:
    """Return the peak with its band, whether it fits, and how many GPUs would hold it."""
    low, high = planned.band_gib
    need = format_bytes(planned.device_bytes)
    peak = (
        f"Peak memory per GPU: {need}, at the instant {INSTANTS[planned.peak_instant].lower()}"
        f" ({sig3(low)}–{sig3(high)} GiB depending on GPU and driver)."
    )
    notes = [peak, format_peak_rank(planned.job), *planned.job.model.architecture.notes]
    first, gpu = wrapped(*notes), planned.job.gpu
    if gpu is None:
        return f"{first}\nName a GPU to see whether it fits: --gpu H100."
    return f"{first}\n{_whether_it_fits(planned, gpu)}"


def _whether_it_fits(planned: Plan, gpu: Gpu) -> str:
    spare = gpu.capacity_bytes - planned.safe_bytes
    if planned.verdict == VERDICTS[0]:
        first = f"Fits the {format_gpu(gpu)} with {format_bytes(spare)} to spare."
        return f"{first}\n{textwrap.fill(fits_words(planned.job), WIDTH)}"
    if planned.verdict == VERDICTS[1]:
        chance = f"{chance_of(planned):.0%}"
        text = f"Tight on the {format_gpu(gpu)}: it runs with a probability of {chance}."
        if gpu.device == "cuda":
            text += " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True leaves fewer blocks unused."
        return textwrap.fill(text, WIDTH)
    gpus = min_gpus(planned)
    alone = "no number of GPUs would hold it with ZeRO-3 alone"
    more = f"{gpus:,} {'GPU' if gpus == 1 else 'GPUs'} would hold it with ZeRO-3" if gpus else alone
    return f"Does not fit the {format_gpu(gpu)}: {format_bytes(-spare)} short; {more}."


def advice_text(planned: Plan) -> str:
    """Return every change that saves memory."""
    entries = advise(planned)
    if not entries:
        return ""
    fits = planned.job.gpu is not None
    head = ["Change", "saves GiB", "needs GiB", "step time"] + ["fits"] * fits
    rows = [head]
    for entry in entries:
        row = [entry.label, sig3(entry.saved_gib), sig3(entry.device_gib), change(entry.time_ratio)]
        rows.append(row + [{None: "", True: "yes", False: "no"}[entry.fits]] * fits)
    return table(rows)


def jobs_table(plans: Sequence[Plan]) -> str:
    """Return a table with a row for each job."""
    head = [
        "job",
        "model",
        "size",
        "recipe",
        "batch",
        "GPUs",
        "GPU",
        "GiB",
        "peak",
        "fits",
        "ZeRO-3",
    ]
    rows = [head]
    for number, planned in enumerate(plans, 1):
        job, gpus = planned.job, min_gpus(planned)
        rows.append(
            [
                str(number),
                job.model.architecture.model_type,
                format_count(job.model.num_parameters),
                _short_recipe(job),
                _batch(job),
                f"{job.cluster.gpus:,}",
                job.gpu.name if job.gpu else "",
                sig3(gib(planned.device_bytes)),
                INSTANTS[planned.peak_instant].lower(),
                _word(planned.verdict),
                _count(gpus),
            ]
        )
    return table(rows, left=2)


def terms_table(terms: Sequence[Term]) -> str:
    """Return a table of the terms of the peak: bytes, formula, inputs; then their sources."""
    rows = [["at the peak", "", "GiB", "formula", "with"]]
    above = ""
    for term in terms:
        label = COMPONENTS[term.component]
        inputs = ", ".join(f"{symbol} = {value}" for symbol, value in term.inputs)
        first = "" if label == above else label
        rows.append([first, term.label, _cell(term.bytes), term.formula, inputs])
        above = label
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:<{widths[3]}}  {e}".rstrip()
        for a, b, c, d, e in rows
    ]
    sources = dict.fromkeys(term.source for term in terms)
    return "\n".join([*lines, "", "Sources:", *(f"  {source}" for source in sources)])


def gpus_table(gpus: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a row for each GPU, as `answer.on_all_gpus` gives them."""
    rows = [["GPU", "holds GiB", "needs GiB", "to spare", "fits", "GPUs, ZeRO-3"]]
    for gpu in gpus:
        row = [gpu["gpu"], sig3(gpu["capacity_gib"])]
        if gpu["lacks"]:
            rows.append([*row, gpu["lacks"].rpartition("has ")[2], "", "no", ""])
            continue
        row += [sig3(gpu["device_gib"]), sig3(gpu["headroom_gib"]).replace("-", "−")]
        rows.append([*row, _word(gpu["verdict"]), _count(gpu["min_gpus"])])
    return table(rows)


def solved_text(planned: Plan, key: str, found: int) -> str:
    """Return the largest micro-batch or the longest sequence, in a sentence."""
    gpu = planned.job.gpu
    name = f"the {format_gpu(gpu)}" if gpu else DEFAULT_GPU
    what = {"micro_batch": "micro-batch", "seq_len": "sequence"}[key]
    if not found:
        return f"Not even a {what} of 1 fits {name}."
    return f"Largest {what} that fits {name}: {found:,}."


def compare_table(plans: Sequence[tuple[str, Plan]]) -> str:
    """Return a table of plans side by side: components at the peak, totals, step time, verdicts."""
    first = plans[0][1]
    pace = step_time(first.job).seconds / step_tokens(first.job)
    peaks = [planned.instants[planned.peak_instant] for _, planned in plans]
    rows = [["GiB at the peak", *(name for name, _ in plans)]]
    rows += [
        [label, *(_cell(parts.get(key, 0)) for parts in peaks)]
        for key, label in COMPONENTS.items()
        if any(key in parts for parts in peaks)
    ]
    ratios = [step_time(p.job).seconds / step_tokens(p.job) / pace for _, p in plans]
    rows += [
        ["Total", *(_cell(planned.allocated_bytes) for _, planned in plans)],
        ["On the GPU", *(_cell(planned.device_bytes) for _, planned in plans)],
        ["Peak", *(INSTANTS[planned.peak_instant].lower() for _, planned in plans)],
        ["Step time", *(change(ratio) for ratio in ratios)],
    ]
    if first.job.gpu is not None:
        rows.append([f"Fits the {first.job.gpu.name}", *(_word(p.verdict) for _, p in plans)])
    return table(rows)


def estimate_text(job: Job, found: Estimate) -> str:
    """Return the estimates of a run, and their assumptions."""
    gpus = job.cluster.gpus
    hardware = f"{gpus:,} × {found.gpu}" if gpus > 1 else found.gpu
    rows = [
        [
            "Speed",
            f"{_large(found.tokens_per_second)} tokens/s, {100 * found.mfu:.0f}% of peak (MFU)",
        ],
        ["Step", _step(job, found)],
        *([["Spent on", found.spent]] if found.spent else []),
        ["FLOPs", f"{found.total_flops:.3g}, {found.flops_per_token:.3g} per token"],
        ["Time", f"{format_duration(found.seconds)}, {_large(found.gpu_hours)} GPU-hours"],
        ["Energy", f"{_large(found.energy_kwh)} kWh"],
    ]
    if found.cost is not None:
        rows.append(["Cost", f"{_large(found.cost)}, in the currency of the price"])
    head = f"{format_count(found.tokens)} tokens on {hardware}; an estimate"
    lines = [table(rows, left=2), *filter(None, [found.bound]), *found.assumptions]
    return "\n".join([head, *lines])


def _step(job: Job, found: Estimate) -> str:
    text = f"{format_duration(found.step_seconds)} for {step_tokens(job):,} tokens"
    if found.step_band is None:
        return text
    low, high = map(format_duration, found.step_band)
    return f"{text}; {most_words(job)} take {low} to {high}"


def change(ratio: float) -> str:
    """Return a ratio as a change: 1.302 → "+30%"."""
    percent = round(100 * (ratio - 1))
    return f"{percent:+d}%".replace("-", "−") if percent else "same"


def _large(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else sig3(value)


def _cell(size_bytes: int) -> str:
    if size_bytes == 0:
        return _NOTHING
    return sig3(gib(size_bytes)) if gib(size_bytes) >= _LEAST_GIB else f"<{_LEAST_GIB:g}"


def _count(gpus: int) -> str:
    return f"{gpus:,}" if gpus else "none"


def _word(verdict: str | None) -> str:
    """Return "yes", "tight" or "no"."""
    return {None: "", VERDICTS[0]: "yes", VERDICTS[2]: "no"}.get(verdict, VERDICTS[1])


def _batch(job: Job) -> str:
    accumulated = f"{job.recipe.grad_accum} × " if job.recipe.grad_accum > 1 else ""
    pairs = " pairs" if job.recipe.objective in PAIRED else ""
    return f"{accumulated}{job.recipe.micro_batch}{pairs} × {job.recipe.seq_len:,}"


def _short_recipe(job: Job) -> str:
    recipe = job.recipe
    words = [] if recipe.method == "full" else [recipe.method]
    words += [recipe.optimizer, f"{recipe.params}+{recipe.master}" if recipe.master else ""]
    words[-1] = words[-1] or recipe.params
    return " ".join(words) + (f" zero{job.cluster.stage}" if job.cluster.stage else "")


def framework_text(job: Job) -> str:
    """Return the framework and each default that it set, a paragraph each; else empty."""
    if job.framework is None:
        return ""
    name, defaults = job.framework
    if not defaults:
        return f"{name}: the job sets everything that it would set."
    lines = [f"{name} sets, where the job leaves it open:"]
    for default in defaults:
        text = f"{default.part}.{default.key} = {_value(default)}: {default.why} ({default.source})"
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def _value(default: AppliedDefault) -> str:
    return "null" if default.value is None else str(default.value).lower()

"""The answer to a project in words: for a terminal, for the page, and as plain data."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from unfrozen.answer.text import WIDTH, recipe_words, table
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.frameworks.tables import mesh, refusal, zero_stage
from unfrozen.hardware.flavors import FEWEST, PRICES, PRICES_OF
from unfrozen.job import Job
from unfrozen.job.recipe import PAIRED
from unfrozen.plan import format_gpu
from unfrozen.plan.record import UNTESTED, band, fits_words, most_words
from unfrozen.plan.rent import rental, rental_text
from unfrozen.plan.step_time import job_gpu
from unfrozen.project.best import OnePlan, PlannedRun, TrainingProject
from unfrozen.project.changes import TRL, Variant, ways
from unfrozen.project.host import EVALUATED, evaluation_bytes, usual_host_bytes
from unfrozen.training_data import LEAST_LENGTH, Data
from unfrozen.units import format_bytes, format_count, format_duration, gib, sig3

METHODS: Final = {"full": "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}
_RECOMPUTED: Final = {
    "none": "",
    "selective": "some activations recomputed",
    "full": "layers recomputed",
}
_OFFLOADED: Final = {
    "none": "",
    "optimizer": "optimizer in host memory",
    "params": "optimizer and weights in host memory",
}
_LABEL: Final = 13
NOBODY: Final = "No framework known here starts it."
SOLVE: Final = "--solve gpus finds how many GPUs hold it."


def method_words(job: Job) -> str:
    """Return the method and what of it a reader should know: "full fine-tuning, adamw in bf16"."""
    recipe = job.recipe
    parts = [recipe_words(job, METHODS[recipe.method])]
    if recipe.rounds:
        parts[-1] += " with stochastic rounding"
    parts += ["8-bit optimizer states"] if recipe.moments == "int8" else []
    parts += ["update in backward"] if recipe.optimizer_in_backward else []
    return ", ".join(parts)


def layout_words(job: Job) -> str:
    """Return GPUs and layout: "8 × H100 SXM (dp8, ZeRO-3), layers recomputed"."""
    cluster, recipe, stage = job.cluster, job.recipe, zero_stage(job)
    shared = [mesh(job)] if cluster.gpus > 1 else []
    shared += [f"ZeRO-{stage}"] if stage != "–" and cluster.gpus > 1 else []
    parts = [
        f"{cluster.gpus:,} × {job_gpu(job).name}" + (f" ({', '.join(shared)})" if shared else ""),
        _RECOMPUTED[recipe.checkpointing],
        _OFFLOADED[cluster.offload],
        "activations in host memory" if recipe.activation_offload else "",
    ]
    return ", ".join(part for part in parts if part)


def data_words(data: Data, length: int, *, packed: bool) -> str:
    """Return the data of a run: rows, epochs, tokens, how they are known, and how they are cut."""
    epochs = f"{data.epochs:g} epoch{'' if data.epochs == 1 else 's'}"
    rows = f"{data.rows:,} row{'' if data.rows == 1 else 's'}"
    text = (
        f"{rows} × {epochs}, {format_count(data.tokens)} tokens ({data.source}); a row has"
        f" {data.mean:,.0f}, the longest {data.longest:,}"
    )
    cut = data.too_long(length)
    if cut:
        rows = "one row" if cut == 1 else f"{cut:,} rows"
        text += f"; sequences of {length:,} cut {rows}"
    elif cut is None:
        text += f"; sequences of {length:,} cut longer rows"
    how = f"packed into sequences of {length:,}" if packed else f"each padded to {length:,}"
    return f"{text}; {how}"


def facts(choice: PlannedRun) -> Iterator[tuple[str, str]]:
    """Yield what a plan holds, takes and costs, each with its name."""
    job, recipe = choice.job, choice.job.recipe
    times = "" if recipe.grad_accum == 1 else f", {recipe.grad_accum:,} times"
    pairs = " pairs" if recipe.objective in PAIRED else ""
    yield (
        "batch",
        f"{choice.layout.sequences:,}{pairs} × {recipe.seq_len:,} tokens a step; a GPU takes"
        f" {recipe.micro_batch:,} at once{times}",
    )
    yield "GPU memory", _memory(choice)
    yield from _length(choice)
    yield "host memory", _host(choice)
    need = choice.needs
    yield (
        "disk",
        f"{format_bytes(need.checkpoint, binary=False)} a checkpoint to resume from,"
        f" {format_bytes(need.finished, binary=False)} the finished"
        f" {'adapters' if recipe.lora else 'model'}",
    )
    yield (
        "longest row",
        f"every step is planned at {recipe.seq_len:,} tokens a sequence: no row takes more memory",
    )
    yield "evaluation", _evaluation(choice)
    yield "estimates", f"of time: {band(job)}. {fits_words(job)}"


def _length(choice: PlannedRun) -> Iterator[tuple[str, str]]:
    """Yield hours and cost; without data the speed."""
    run, data = choice.run, choice.question.data
    if run is None or data is None:
        speed = f"{choice.layout.tokens_per_second:,.0f} tokens/s"
        yield "speed", f"{speed}; rows and epochs tell the hours"
        return
    steps, edge = choice.steps, ""
    if run.step_band is not None:
        low, high = (steps * one for one in run.step_band)
        edge = f"; {most_words(choice.job)} take {format_duration(low)} to {format_duration(high)}"
    each = f"{steps:,} step{'' if steps == 1 else 's'} of {format_duration(run.step_seconds)}"
    yield "time", f"{format_duration(run.seconds)}, {each}{edge}"
    padded = data.padded_tokens(choice.job.recipe.micro_batch)
    if padded and padded > 1.01 * data.tokens and choice.question.packs:
        longer = format_duration(run.seconds * padded / data.tokens)
        yield "padded", f"{longer} instead: each row as long as the longest of its micro-batch"
    yield "cost", _cost(choice)
    yield "timeout", rental_text(rental(choice.job, run.seconds))


def _memory(choice: PlannedRun) -> str:
    planned = choice.plan
    low, high = planned.band_gib
    fills = planned.roomy_bytes > planned.device_bytes  # blocks it would give back
    needed = f", of which {format_bytes(planned.safe_bytes)} are needed" if fills else ""
    untested = f"; {UNTESTED[choice.framework]}" if choice.framework in UNTESTED else ""
    return (
        f"{format_bytes(planned.device_bytes)} of the {format_gpu(job_gpu(choice.job))}{needed}:"
        f" {planned.verdict} with a probability {_chance(choice)}{untested}"
        f" ({sig3(low)}–{sig3(high)} GiB depending on GPU and driver)"
    )


def _chance(choice: PlannedRun) -> str:
    """Return a probability that is never certain: "of 91%", "of at least 90%" where runs support no
    more, "above 99%".
    """
    chance, planned = choice.chance or 0.0, choice.plan.chance or 0.0
    if chance > 0.99 or chance < 0.01:
        return "above 99%" if chance > 0.99 else "below 1%"
    return f"of {'at least ' if chance < planned else ''}{chance:.0%}"


def _cost(choice: PlannedRun) -> str:
    gpu, price = job_gpu(choice.job), choice.price
    hours = f"{sig3(choice.run.gpu_hours if choice.run else 0.0)} GPU-hours"
    if price is None:
        return (
            f"{hours} of the {gpu.name}, which fewer than {FEWEST} providers list: no usual price"
        )
    cost = f"{choice.cost or 0:,.2f}"
    if choice.question.price is not None:
        return f"{cost} at {price:g} a GPU-hour, {hours}"
    low, high = PRICES[gpu.name]
    usual = f"the median of ${low:.2f} to ${high:.2f}, from {PRICES_OF}"
    return f"${cost} at ${price:.2f} a GPU-hour ({usual}), {hours}"


def _host(choice: PlannedRun) -> str:
    need, gpu = choice.needs, job_gpu(choice.job)
    usual = usual_host_bytes(gpu, choice.job.cluster.gpus)
    away = f"{format_bytes(need.steps)} offloaded during steps, " if need.steps else ""
    text = (
        f"{away}{format_bytes(need.load)} to load, {format_bytes(need.save)} to save, on each"
        f" machine; {format_bytes(usual, binary=False)} are usual"
    )
    return text if need.host <= usual else f"{text}: more than that"


def _evaluation(choice: PlannedRun) -> str:
    job, gpu = choice.job, job_gpu(choice.job)
    own = job.recipe.micro_batch
    text = f"{format_bytes(evaluation_bytes(job, own))} with the micro-batch of training"
    if choice.framework not in TRL or own >= EVALUATED:
        return text
    more = evaluation_bytes(job, EVALUATED)
    fits = more <= gpu.capacity_bytes
    verdict = "fit too" if fits else f"do not fit: --per_device_eval_batch_size {own}"
    return f"{text}; transformers' own {EVALUATED} take {format_bytes(more)} and {verdict}"


def answer_text(answer: OnePlan) -> str:
    """Return the answer for a terminal: the plan, its command, and what else it could be."""
    question, first = answer.question, answer.first
    model = question.job.model
    lines = [f"{model.architecture.model_type}, {format_count(model.num_parameters)} parameters"]
    if question.data is not None:
        length = question.job.recipe.seq_len
        lines += _wrapped(data_words(question.data, length, packed=(first or question).packs))
    if first is None:
        return "\n".join([*lines, "", *_no_plan(answer)])
    lines += ["", *_wrapped(f"Plan: {method_words(first.job)}, on {layout_words(first.job)}"), ""]
    for label, text in facts(first):
        own = label == "cost" and question.price is None
        text += "; --price gives your own" if own else ""
        lines += _wrapped(text, label.ljust(_LABEL), " " * _LABEL)
    lines += _start(first) if first.command else ["", NOBODY]
    if others := remarks(answer):
        cells = [["", "GiB", "time", "cost"], *(_row(one) for one, _ in others)]
        if not any(cost for *_, cost in cells[1:]):
            cells = [row[:-1] for row in cells]
        notes = ["", *(remark for _, remark in others)]
        rows = zip(table(cells).splitlines(), notes, strict=True)
        lines += ["", *(f"{line}  {note}".rstrip() for line, note in rows)]
    return "\n".join(lines)


def short_text(answer: OnePlan) -> str:
    """Return the plan, its memory and its command alone, or why there is none."""
    if answer.first is None:
        return "\n".join(_no_plan(answer))
    first = answer.first
    plan = f"Plan: {method_words(first.job)}, on {layout_words(first.job)}: {_memory(first)}"
    return "\n".join([*_wrapped(plan), *(_start(first) if first.command else ["", NOBODY])])


def _no_plan(answer: OnePlan) -> list[str]:
    words = [*nothing_words(answer)]
    if words[0] == _refused(answer.question):
        return words
    started = (one for one in answer.adapters if one.command)
    several = [SOLVE] if job_gpu(answer.question.job).device == "cuda" else []
    return [*words, *several, *next(map(_start, started), [])]


def _start(choice: PlannedRun) -> list[str]:
    label = FRAMEWORKS[choice.framework].label
    return ["", f"With {label}:", "", choice.command]


def _row(choice: PlannedRun) -> list[str]:
    run, cost = choice.run, choice.cost
    return [
        other_words(choice),
        sig3(gib(choice.plan.device_bytes)),
        format_duration(run.seconds) if run else "",
        "" if cost is None else f"{cost:,.2f}",
    ]


def _wrapped(text: str, first: str = "", then: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=then)


def nothing_words(answer: OnePlan) -> Iterator[str]:
    """Yield sentences on a job that does not fit, and on what does."""
    question = answer.question
    gpus = f"{question.gpus:,} × {format_gpu(job_gpu(question.job))}"
    if refused := _refused(question):
        yield refused
        return
    recipe = question.job.recipe
    if recipe.method == "full":
        yield f"No full fine-tuning fits {gpus}, with every change that keeps all weights trained."
    else:
        whole = "; transformers 5 leaves its experts in 16 bits" if recipe.whole_experts else ""
        yield f"{METHODS[recipe.method]} does not fit {gpus}{whole}."
    if answer.lacking is not None:
        need = format_bytes(answer.lacking.needs.host)
        yield f"With {need} of host memory on each machine: {layout_words(answer.lacking.job)}."
    for one in answer.adapters:
        yield f"{METHODS[one.job.recipe.method]} fits {layout_words(one.job)}."
    if recipe.seq_len > LEAST_LENGTH and "seq_len" in question.left:
        length = f"{recipe.seq_len:,} tokens"
        yield f"Its sequences have {length}; a smaller seq_len cuts the longest rows."


def _refused(question: TrainingProject) -> str:
    """Return why the framework that was named, or any, cannot run a job; "" where one can."""
    routes = [one for one in ways(question.job, Variant(), "", question.left) if one.name]
    return refusal(routes, question.gpus, question.framework)


def remarks(answer: OnePlan) -> list[tuple[PlannedRun, str]]:
    """Return every other choice, those that GPUs have run and the fastest first, each with who runs
    it and a remark.
    """
    found = [(one, "") for one in (*answer.others, *answer.fewer)]
    found += [(one, "trains adapters alone") for one in answer.adapters]
    if answer.lacking is not None:
        host = format_bytes(answer.lacking.needs.host)
        found.append((answer.lacking, f"needs {host} of host memory"))
    every = [answer.first, *(one for one, _ in found)]
    costs = [one.cost for one in every if one and one.cost is not None]
    noted = []
    for one, remark in sorted(found, key=lambda pair: pair[0].rank):
        by = FRAMEWORKS[one.framework].label if one.framework else ""
        remark = remark or UNTESTED.get(one.framework, "").partition(":")[0]
        cheapest = "the cheapest" if one.cost is not None and one.cost == min(costs) else ""
        noted.append((one, ", ".join(part for part in (by, remark, cheapest) if part)))
    return noted


def other_words(choice: PlannedRun) -> str:
    """Return a choice in a line: what trains where it is not every weight, and the layout."""
    method, words = choice.job.recipe.method, layout_words(choice.job)
    return words if method == "full" else f"{METHODS[method]}, {words}"


def answer_data(answer: OnePlan) -> dict[str, Any]:
    """Return the answer as plain data: the plan, and lists of what else it could be."""
    return {
        "plan": answer.first and choice_data(answer.first),
        "others": [choice_data(one) for one in (*answer.others, *answer.fewer)],
        "adapters": [choice_data(one) for one in answer.adapters],
        "lacks_host_memory": answer.lacking and choice_data(answer.lacking),
    }


def choice_data(choice: PlannedRun) -> dict[str, Any]:
    """Return a choice as plain data; sizes are in GiB where the key says so, else in bytes."""
    run, planned = choice.run, choice.plan
    return {
        "cluster": asdict(choice.job.cluster),
        "recipe": choice.job.recipe.as_json(),
        "gpu": job_gpu(choice.job).name,
        "device_gib": gib(planned.device_bytes),
        "band": list(planned.band_gib),
        "fits": planned.fits,
        "chance": choice.chance,
        "untested": UNTESTED.get(choice.framework),
        "tokens_per_second": choice.layout.tokens_per_second,
        "seconds": run and run.seconds,
        "gpu_hours": run and run.gpu_hours,
        "cost": choice.cost,
        "rent": run and rental(choice.job, run.seconds),
        "host": asdict(choice.needs),
        "framework": choice.framework or None,
        "command": choice.command or None,
    }

"""The figures of the accuracy page: each entry of `PARTS` is an `::: accuracy NAME` block.

    strips      a row of dots per class of steps, with the median and the worst error
    published   every step that others measured and published, with its source
    traced      every traced step, in a table that sorts
    others      a table: the errors of other calculators, and ours on the same rows
    record      plots: the median error on later runs, at first and today, by kind of job
    bands       a table: the band of each kind of job, and whether it holds runs of other projects
    unseen      a table: later runs that we looked for ourselves and never tuned on
    kinds       a folded table: the other later runs, by the kind that their sources name
    reported    a table: runs that people reported, which can be filtered
    words       a table: settings of later runs that the planner ignores

Later runs are those that others published after the planner was written. Positions are percentages
of the drawing, because the page's Content-Security-Policy refuses style attributes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from markupsafe import Markup, escape

from site_builder.measurements import (
    compare_runs,
    read_first_errors,
    read_other_calculators,
    read_reports,
)
from site_builder.rendering import TEMPLATES, RenderQueue, data_element, fold
from unfrozen.answer.accuracy import (
    COLLECTIONS,
    FOUND,
    GIVEN,
    GROUPS,
    MEMORY,
    PUBLISHED,
    SPEED,
    TRACED,
    Comparison,
    by_kind,
    compare,
    errors_by_project,
    setting,
    spread,
    worst_error,
)
from unfrozen.plan.record import KINDS, Band, Spread, held_apart
from unfrozen.units import GIB, gib

_LOW, _HIGH = -0.30, 0.55  # ends of the axis of errors
_TICKS = (-0.2, 0.0, 0.2, 0.4)
_BAND = 0.05
_LANES = 7
_DOT_PERCENT = 1.3  # of the axis: dots closer than that would overlap
_SMALLEST_SHOWN = 0.001
_LOW_BY = 0.10  # of an answer that is low
_LABELLED_FROM = 0.10  # dots with a larger error have a label
_URL = re.compile(r"https://[^\s,;)]+|arXiv:[\d.]+\d")

TITLES: Final = {MEMORY: "Memory", SPEED: "Speed"}
LABELS: Final = {
    "apple": "Apple",
    "objectives": "DPO, GRPO",
    "hf_experts": "MoE, transformers",
    "long": "> 128k tokens",
    "adapters": "LoRA",
    "spread_experts": "MoE, many nodes",
    "experts": "MoE, one node",
    "low": "≤ 8 bits",
    "unlinked": "No NVLink",
    "machine": "One node",
    "machines": "Many nodes",
}
"""Short labels of the kinds of jobs, in the order of `unfrozen.plan.record.KINDS`."""


def format_error(ratio: float, digits: int = 1) -> str:
    """Return an error in per cent: −0.106 → "−10.6%"; one that rounds to zero has no sign."""
    text = f"{100 * ratio:+.{digits}f}"
    text = text[1:] if float(text) == 0 else text.replace("-", "−")
    return f"{text}%"


def _format_size(ratio: float) -> str:
    is_small = abs(ratio) < _SMALLEST_SHOWN
    return f"< {100 * _SMALLEST_SHOWN:g}%" if is_small else format_error(ratio)


def _short_name(name: str) -> str:
    return re.sub(r"(-\d+-layers)?-(bf16|amp|fp32)-b\d.*$", "", name.partition(" (")[0])


def _x(error: float) -> float:
    return round(100 * (error - _LOW) / (_HIGH - _LOW), 2)


def _render_macro(name: str, *values: Any) -> str:
    macros: Any = TEMPLATES.get_template("accuracy.html.j2").module
    return str(getattr(macros, name)(*values))


# --- strips -------------------------------------------------------------------------------------
def _strips(_: str, __: RenderQueue) -> str:
    ticks = [
        {
            "x": _x(tick),
            "zero": not tick,
            "label": format_error(tick, 0) if tick else "measured",
        }
        for tick in _TICKS
    ]
    strips = [_strip(label, compare_runs(group)) for group, label in GROUPS.items()]
    return _render_macro("strips", strips, ticks)


def _strip(label: str, found: list[Comparison]) -> dict[str, Any]:
    counted = spread(found)
    dots = list(_dots(found))
    labelled = [dot for dot in dots if abs(dot["error"]) >= _LABELLED_FROM]
    for low in (True, False):
        _separate_labels([dot for dot in labelled if (dot["error"] < 0) is low])
    out = len(found) - counted.runs
    return {
        "label": label,
        "rows": f"{counted.runs} + {out}" if out else counted.runs,
        "median": _format_size(counted.half).removeprefix("+"),
        "worst": _format_size(worst_error(found)),
        "alt": f"{len(found)} steps, errors from "
        f"{format_error(min(v.error for v in found))} to "
        f"{format_error(max(v.error for v in found))}",
        "band": {"x": _x(-_BAND), "width": round(_x(_BAND) - _x(-_BAND), 2)},
        "dots": list({(dot["x"], dot["y"]): dot for dot in dots}.values()),  # what can be seen
        "labels": [_label(dot) for dot in labelled],
    }


def _separate_labels(labelled: list[dict[str, Any]]) -> None:
    """Move the labelled dots of one side to heights of their own, or labels would overlap."""
    for number, dot in enumerate(labelled if len(labelled) > 1 else ()):
        dot["y"] = round(100 * (number + 0.5) / len(labelled))


def _dots(found: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    """Yield dots left to right; those that would overlap take lanes, the middle one first."""
    lanes: dict[int, list[float]] = defaultdict(list)
    for number, item in enumerate(sorted(found, key=lambda v: v.error)):
        x = _x(item.error)
        free = (i for i in range(_LANES) if all(abs(x - t) > _DOT_PERCENT for t in lanes[i]))
        lane = next(free, number % _LANES)
        lanes[lane].append(x)
        side = (lane + 1) // 2 * (1 if lane % 2 else -1)
        name = _short_name(item.row.name)
        why = f"; not counted: {item.unjudged}" if item.unjudged else ""
        yield {
            "x": x,
            "y": 50 + side * 84 // _LANES,
            "out": bool(item.unjudged),
            "error": item.error,
            "name": name,
            "title": f"{name}: {format_error(item.error)} ({setting(item.job)}{why})",
        }


def _label(dot: dict[str, Any]) -> dict[str, Any]:
    is_left = dot["x"] > 15
    return {
        "x": dot["x"],
        "y": dot["y"],
        "dx": -8 if is_left else 8,
        "anchor": "end" if is_left else "start",
        "text": f"{dot['name']} {format_error(dot['error'], 0)}",
    }


# --- steps --------------------------------------------------------------------------------------
def _published(_: str, __: RenderQueue) -> str:
    groups = []
    sources: dict[str, Markup] = {}
    for group in PUBLISHED:
        found = compare_runs(group)
        groups.append({"label": GROUPS[group], "rows": [_published_row(v) for v in found]})
        sources |= {v.row.source: _link_all(v.row.source) for v in found}
    return _render_macro("published", groups, [*sources.values()])


def _published_row(found: Comparison) -> dict[str, Any]:
    row = found.row
    return {
        "name": row.name,
        "setting": f"{setting(found.job)}; {row.framework}",
        "measured": f"{gib(row.measured):.2f}",
        "predicted": f"{gib(found.predicted):.2f}",
        "error": format_error(found.error),
        "counter": row.counter,
        "quality": row.quality,
        "unjudged": found.unjudged,
        "source": _short_link(row.source),
    }


def _address(url: str) -> str:
    return url if url.startswith("https:") else f"https://arxiv.org/abs/{url.partition(':')[2]}"


def _short_link(source: str) -> Markup:
    """Return a link that fits a table cell: the repository or the paper."""
    url = _URL.search(source)
    if url is None:
        return escape(source)
    path = url[0].removeprefix("https://").partition("/")[2]
    text = "/".join(path.split("/")[:2]) if path else url[0]
    return Markup('<a href="{}">{}</a>').format(_address(url[0]), text)


def _link_all(source: str) -> Markup:
    """Return the whole source, its addresses as links."""
    pieces, end = [], 0
    for url in _URL.finditer(source):
        text = url[0].removeprefix("https://github.com/")
        link = Markup('<a href="{}">{}</a>').format(_address(url[0]), text)
        pieces += [escape(source[end : url.start()]), link]
        end = url.end()
    return Markup("").join([*pieces, escape(source[end:])])


def _traced(where: str, queue: RenderQueue) -> str:
    found = compare_runs(*TRACED)
    table = {
        "headers": ["Step", "Parameters", "Traced", "Planned", "Error", "Set"],
        "units": ["", "million", "GiB", "GiB", "%", ""],
        "rows": [
            [
                v.row.id,
                round((v.row.parameters or 0) / 1e6, 1),
                round(gib(v.row.measured), 3),
                round(gib(v.predicted), 3),
                round(100 * v.error, 3) + 0.0,
                "published" if v.row.group == "reference" else "traced here",
            ]
            for v in found
        ],
    }
    return fold(f"All {len(found)} traced steps", data_element("table", table, where, queue))


# --- other calculators --------------------------------------------------------------------------
def rival_errors() -> Iterator[tuple[dict[str, Any], list[float], list[float]]]:
    """Yield each calculator, the errors of its answers, and ours on the same rows."""
    known = read_other_calculators()
    rows = {item.row.key: item for item in compare_runs(*PUBLISHED, *COLLECTIONS)}
    processes = {
        key: compare(replace(rows[key].row, counter="device", measured=size * GIB))
        for key, size in known["process"].items()
    }
    for entry in known["calculators"]:
        measured = rows | processes if entry["process"] else rows
        asked = [measured[key] for key in entry["answers"]]
        unit = GIB if entry["of"] == MEMORY else 1
        answers = zip(entry["answers"].values(), asked, strict=True)
        errors = [answer * unit / item.row.measured - 1 for answer, item in answers]
        yield entry, errors, [item.error for item in asked]


def rival_lines() -> list[list[Any]]:
    """Return the line of each calculator in the table, the closest first."""
    lines = []
    for entry, *errors in rival_errors():
        theirs, ours = map(_three_sizes, errors)
        closer = "ours" if ours[0] < theirs[0] else "theirs"
        lines.append([entry["name"], entry["kind"], len(errors[0]), *theirs, *ours, closer])
    return sorted(lines, key=lambda line: line[3])


def _three_sizes(errors: Sequence[float]) -> list[float]:
    """Return in per cent the median, the 90th percentile, and the share that is low by over 10%."""
    found = Spread.of(errors)
    sizes = found.half, found.most, sum(error < -_LOW_BY for error in errors) / len(errors)
    return [round(100 * size, 1) for size in sizes]


def _others(where: str, queue: RenderQueue) -> str:
    theirs = ["Median", "90th percentile", "Low by > 10%"]
    ours = [f"Ours: {name.lower()}" for name in theirs]
    headers = ["Calculator", "Runs of", "Runs", *theirs, *ours, "Closer"]
    table = {"headers": headers, "units": ["", "", "", *"%%%%%%", ""], "rows": rival_lines()}
    asked = Markup("").join(map(_rival_note, read_other_calculators()["calculators"]))
    notes = Markup('<ul class="accuracy-sources soft">{}</ul>').format(asked)
    summary = "What each was asked, and what it has no input for"
    return data_element("table", table, where, queue) + fold(summary, notes)


def _rival_note(entry: dict[str, Any]) -> Markup:
    rest = len(compare_runs(*PUBLISHED, *COLLECTIONS, of=entry["of"])) - len(entry["answers"])
    refused = len(entry["refused"])
    counted = f"{rest - refused} runs left out" + (f", {refused} refused" if refused else "")
    note = Markup('<li><a href="{url}">{name}</a> {version}: {kind}. No input for {lacks}. ')
    note += Markup("Asked: {mapped}. {counted}.</li>\n")
    return note.format(**entry, counted=counted)


# --- later runs ---------------------------------------------------------------------------------
def first_spread(looks: Iterable[Comparison]) -> Spread:
    """Return the spread of the errors when the runs were first compared."""
    known = read_first_errors()
    return Spread.of([known[item.row.key] for item in looks if item.row.key in known])


def _record(where: str, queue: RenderQueue) -> str:
    plots = [_record_plot(of) for of in (MEMORY, SPEED)]
    return "".join(data_element("plot", plot, where, queue) for plot in plots)


def _record_plot(of: str) -> dict[str, Any]:
    looks = compare_runs(*GIVEN, of=of)
    kinds = [kind for kind in KINDS if any(item.kind == kind for item in looks)]
    by_kind = {kind: [item for item in looks if item.kind == kind] for kind in kinds}
    return {
        "title": TITLES[of],
        "type": "bar",
        "x_label": "Kind of job, and number of runs",
        "y_label": "Median error",
        "y_unit": "%",
        "x_data": [f"{LABELS[kind]} ({len(by_kind[kind])})" for kind in kinds],
        "lines": [
            {"label": "when first compared", "data": _medians(first_spread, by_kind.values())},
            {"label": "today", "data": _medians(spread, by_kind.values())},
        ],
    }


def _medians(
    spread_of: Callable[[Iterable[Comparison]], Spread], kinds: Iterable[Sequence[Comparison]]
) -> list[float]:
    return [round(100 * spread_of(looks).half, 1) for looks in kinds]


def _bands(where: str, queue: RenderQueue) -> str:
    rows = []
    for kind, errors in errors_by_project(compare_runs(*COLLECTIONS)).items():
        found, (held, asked) = Band.of(errors), held_apart(errors)
        sizes = (found.half, found.most, held / asked) if asked else (None,) * 3
        shares = (size and round(100 * size, 1) for size in sizes)
        rows.append([LABELS[kind], found.runs, found.projects, *shares])
    headers = ["Kind of job", "Runs", "Projects", "Half within", "Band", "Of the project left out"]
    table = {"headers": headers, "units": ["", "", "", "%", "%", "%"], "rows": rows}
    return data_element("table", table, where, queue)


def _unseen(where: str, queue: RenderQueue) -> str:
    rows = [
        [TITLES[of], kind, *_errors(runs)]
        for of in (MEMORY, SPEED)
        for kind, runs in by_kind(compare_runs(FOUND, of=of)).items()
    ]
    return data_element("table", _error_table(rows), where, queue)


def _kinds(where: str, queue: RenderQueue) -> str:
    rows = [
        [TITLES[of], kind, *_errors(runs), round(100 * first_spread(runs).half, 1)]
        for of in (MEMORY, SPEED)
        for kind, runs in by_kind(compare_runs(*GIVEN, of=of)).items()
    ]
    table = data_element("table", _error_table(rows, "Median, at first"), where, queue)
    summary = f"All {len(rows)} kinds, as their sources name them"
    return fold(summary, table)


def _errors(runs: list[Comparison]) -> list[float]:
    """Return the number of runs and, in per cent, the median, 90th percentile and worst error."""
    found = spread(runs)
    sizes = (found.half, found.most, worst_error(runs))
    return [len(runs), *(round(100 * size, 1) for size in sizes)]


def _error_table(rows: list[list[Any]], *more: str) -> dict[str, Any]:
    headers = ["Of", "Kind", "Runs", "Median error", "90th percentile", "Worst error", *more]
    units = ["", "", "", "%", "%", "%", *("%" for _ in more)]
    return {"headers": headers, "units": units, "rows": rows}


def _unsupported_settings(where: str, queue: RenderQueue) -> str:
    found = (item.row.unsupported for item in compare_runs(*COLLECTIONS))
    unsupported = Counter(key for text in found for key in text.split("; ") if key)
    rows = [[key, n] for key, n in unsupported.most_common()]
    table = {"headers": ["What the source states, and no setting says", "Runs"], "rows": rows}
    return data_element("table", table, where, queue)


def _reported(where: str, queue: RenderQueue) -> str:
    headers = ["Family", "Device", "Framework", "Month", "Parameters"]
    headers += ["Measured", "Predicted", "Error", "Speed"]
    units = [*("",) * 4, "million", "GiB", "GiB", "%", "tokens/s"]
    rows = [_reported_row(one) for one in read_reports()]
    table = {"headers": headers, "units": units, "rows": rows, "filters": [0, 1, 2, 3]}
    return data_element("table", table, where, queue)


def _reported_row(report: dict[str, Any]) -> list[Any]:
    model, measured = report["model"], report["measured_peak_bytes"]
    predicted = report.get("predicted_peak_bytes")
    return [
        model.get("type", "–"),
        f"{report['gpus']} × {report['gpu']}" if report["gpus"] > 1 else report["gpu"],
        *(report[key] for key in ("framework", "month")),
        round(model["num_parameters"] / 1e6, 1),
        round(gib(measured), 3),
        predicted and round(gib(predicted), 3),
        predicted and round(100 * (predicted / measured - 1), 2),
        report.get("tokens_per_second"),
    ]


PARTS: Final[dict[str, Callable[[str, RenderQueue], str]]] = {
    "strips": _strips,
    "published": _published,
    "traced": _traced,
    "others": _others,
    "record": _record,
    "bands": _bands,
    "unseen": _unseen,
    "kinds": _kinds,
    "reported": _reported,
    "words": _unsupported_settings,
}
"""Functions that return the HTML of a part, given "chapter.md:line" and the render queue."""

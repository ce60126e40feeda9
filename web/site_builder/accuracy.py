"""The figures of the accuracy chapter: error strips, the rows behind them, other calculators.

`draw(part, where, renderings)` makes the HTML of one part:

    strips      a line of dots a class, with its median and its worst
    published   every step that was measured and published, with its source
    traced      every traced step, in a table that sorts
    others      what other calculators answer
    …           and the parts of site_builder.later

Positions are percentages of the drawing, because the page's policy refuses style attributes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from site_builder import later
from site_builder.cells import data_element
from site_builder.errors import SiteError
from site_builder.formats import NO_BREAK
from site_builder.measurements import judged, others, verdict
from site_builder.renderings import Renderings
from unfrozen.answer.accuracy import GROUPS, PUBLISHED, TRACED, Verdict, setting, summarize
from unfrozen.units import gib

_LOW, _HIGH = -0.30, 0.50  # ends of the axis of errors
_TICKS = (-0.2, 0.0, 0.2, 0.4)
_BAND = 0.05
_LANES = 7
_TOUCHING = 1.3  # per cent of the axis two dots need between them
_LEAST = 0.001
_NAMED = 0.10  # errors from here on are named in the drawing
_URL = re.compile(r"https://[^\s,;)]+|arXiv:[\d.]+\d")


def draw(part: str, where: str, renderings: Renderings) -> str:
    """The HTML of a part of the chapter; SiteError for a part that does not exist."""
    parts = {"strips": _strips, "published": _published, "others": _others}
    if part == "traced":
        return _traced(where, renderings)
    if part in later.PARTS:
        return later.draw(part, where, renderings)
    if part not in parts:
        names = ", ".join([*sorted(parts), "traced", *later.PARTS])
        raise SiteError(where, f"there is no ::: accuracy {part}; choose one of {names}")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    macros: Any = environment.get_template("accuracy.html.j2").module
    return str(getattr(macros, part)(*parts[part]()))


def signed(ratio: float, digits: int = 1) -> str:
    """An error as a reader sees it: −0.106 → "−10.6%"; what rounds to nothing has no sign."""
    text = f"{100 * ratio:+.{digits}f}"
    text = text[1:] if float(text) == 0 else text.replace("-", "−")
    return f"{text}%"


def _size(ratio: float) -> str:
    return signed(ratio) if abs(ratio) >= _LEAST else f"< {100 * _LEAST:g}%"


def _short(name: str) -> str:
    return re.sub(r"(-\d+-layers)?-(bf16|amp|fp32)-b\d.*$", "", name.partition(" (")[0])


def _place(error: float) -> float:
    return round(100 * (error - _LOW) / (_HIGH - _LOW), 2)


# --- strips -------------------------------------------------------------------------------------
def _strips() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    ticks = [
        {
            "x": _place(tick),
            "zero": not tick,
            "label": signed(tick, 0) if tick else "measured",
        }
        for tick in _TICKS
    ]
    return [_strip(summary) for summary in summarize(judged())], ticks


def _strip(summary: Any) -> dict[str, Any]:
    found = [v for v in judged() if v.row.group == summary.group]
    dots = list(_dots(found))
    named = [dot for dot in dots if abs(dot["error"]) >= _NAMED]
    for low in (True, False):
        _spread([dot for dot in named if (dot["error"] < 0) is low])
    out = summary.rows - summary.judged
    return {
        "label": summary.label,
        "rows": f"{summary.judged} + {out}" if out else summary.judged,
        "median": _size(summary.median).removeprefix("+"),
        "worst": _size(summary.worst),
        "says": f"{summary.rows} steps, errors from {signed(min(v.error for v in found))} "
        f"to {signed(max(v.error for v in found))}",
        "band": {"x": _place(-_BAND), "width": round(_place(_BAND) - _place(-_BAND), 2)},
        "dots": dots,
        "labels": [_label(dot) for dot in named],
    }


def _spread(named: list[dict[str, Any]]) -> None:
    """Give named dots of one side lines of their own: names beside each other would touch."""
    for number, dot in enumerate(named if len(named) > 1 else ()):
        dot["y"] = round(100 * (number + 0.5) / len(named))


def _dots(found: Sequence[Verdict]) -> Iterator[dict[str, Any]]:
    """Dots that would touch go to lanes beside each other, the middle one first."""
    lanes: dict[int, list[float]] = defaultdict(list)
    for number, item in enumerate(sorted(found, key=lambda v: v.error)):
        x = _place(item.error)
        free = (i for i in range(_LANES) if all(abs(x - taken) > _TOUCHING for taken in lanes[i]))
        lane = next(free, number % _LANES)
        lanes[lane].append(x)
        side = (lane + 1) // 2 * (1 if lane % 2 else -1)
        name = _short(item.row.name)
        why = f"; not counted: {item.unjudged}" if item.unjudged else ""
        yield {
            "x": x,
            "y": 50 + side * 84 // _LANES,
            "out": bool(item.unjudged),
            "error": item.error,
            "name": name,
            "title": f"{name}: {signed(item.error)} ({setting(item.plan.job)}{why})",
        }


def _label(dot: dict[str, Any]) -> dict[str, Any]:
    left = dot["x"] > _place(0)
    return {
        "x": dot["x"],
        "y": dot["y"],
        "dx": -8,
        "anchor": "end",
        "text": f"{dot['name']} {signed(dot['error'], 0)}",
    } | ({} if left or dot["x"] > 15 else {"dx": 8, "anchor": "start"})


# --- rows ---------------------------------------------------------------------------------------
def _published() -> tuple[list[dict[str, Any]], list[Markup]]:
    groups = []
    sources: dict[str, Markup] = {}
    for group in PUBLISHED:
        found = [v for v in judged() if v.row.group == group]
        groups.append({"label": GROUPS[group], "rows": [_row(v) for v in found]})
        sources |= {v.row.source: _linked(v.row.source) for v in found}
    return groups, [*sources.values()]


def _row(found: Verdict) -> dict[str, Any]:
    row = found.row
    return {
        "name": row.name,
        "setting": f"{setting(found.plan.job)}; {row.framework}",
        "measured": f"{gib(row.measured_bytes):.2f}",
        "predicted": f"{gib(found.predicted_bytes):.2f}",
        "error": signed(found.error),
        "counter": row.counter,
        "quality": row.quality,
        "unjudged": found.unjudged,
        "source": _first_link(row.source),
    }


def _address(url: str) -> str:
    return url if url.startswith("https:") else f"https://arxiv.org/abs/{url.partition(':')[2]}"


def _first_link(source: str) -> Markup:
    """The source as a link a table has room for: the repository or the paper."""
    url = _URL.search(source)
    if url is None:
        return escape(source)
    path = url[0].removeprefix("https://").partition("/")[2]
    text = "/".join(path.split("/")[:2]) if path else url[0]
    return Markup('<a href="{}">{}</a>').format(_address(url[0]), text)


def _linked(source: str) -> Markup:
    """The whole source, with its addresses as links."""
    pieces, end = [], 0
    for url in _URL.finditer(source):
        text = url[0].removeprefix("https://github.com/")
        link = Markup('<a href="{}">{}</a>').format(_address(url[0]), text)
        pieces += [escape(source[end : url.start()]), link]
        end = url.end()
    return Markup("").join([*pieces, escape(source[end:])])


def _traced(where: str, renderings: Renderings) -> str:
    found = [v for v in judged() if v.row.group in TRACED]
    table = {
        "headers": ["Step", "Parameters", "Traced", "Planned", "Error", "Set"],
        "units": ["", "million", "GiB", "GiB", "%", ""],
        "rows": [
            [
                v.row.id,
                round((v.row.parameters or 0) / 1e6, 1),
                round(gib(v.row.measured_bytes), 3),
                round(gib(v.predicted_bytes), 3),
                round(100 * v.error, 3) + 0.0,
                "published" if v.row.group == "reference" else "traced here",
            ]
            for v in found
        ],
    }
    drawn = data_element("table", table, where, renderings)
    return (
        f'<details class="accuracy-details"><summary>All {len(found)} traced steps</summary>\n'
        f"{drawn}</details>\n"
    )


# --- other calculators --------------------------------------------------------------------------
def _others() -> tuple[list[dict[str, Any]]]:
    return ([_calculators(entry) for entry in others()["rows"]],)


def _calculators(entry: dict[str, Any]) -> dict[str, Any]:
    found = verdict(entry["row"])
    measured = gib(found.row.measured_bytes)
    ours = gib(found.predicted_bytes)
    most = max(measured, ours, *(max(a["answer"]) for a in entry["answers"]))

    def line(kind: str, name: str, values: Sequence[float], **more: str) -> dict[str, Any]:
        unit = "" if kind == "other" else f"{NO_BREAK}GiB"
        off = " or ".join(signed(value / measured - 1, 0) for value in values)
        return {
            "kind": kind,
            "name": name,
            "answer": " or ".join(f"{value:g}" for value in values) + unit,
            "off": "" if kind == "measured" else off,
            "width": round(99 * max(values) / most, 2),
            "url": "",
            "lacks": "–",
        } | more

    rows = [
        line("measured", "Measured", [round(measured, 1)], lacks=""),
        line("ours", "This page", [round(ours, 1)], off=signed(ours / measured - 1), lacks=""),
    ]
    answers = sorted(entry["answers"], key=lambda a: -max(a["answer"]))
    for a in answers:
        rows.append(line("other", a["name"], a["answer"], url=a["url"], lacks=a["lacks"] or "–"))
    step = f"{found.row.name}: {setting(found.plan.job)}"
    return {"step": step, "measured": round(99 * measured / most + 0.3, 2), "rows": rows}

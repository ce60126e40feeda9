"""A judgement as one page: what each model answers, before and after, on the same rows.

One file without a script or a request, light or dark as its reader has it, and light on paper.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Final

from gpu_runner import atomic
from gpu_runner.errors import SystemFailure, UsageError
from gpu_runner.outgoing import find_private, require_public
from gpu_runner.run.harness import Judgement, MetricScore
from gpu_runner.text import counted, printable, with_interval
from unfrozen.held_out import METHOD, SHARE, Interval

SUFFIX: Final = ".html"
WIDTH: Final = 240
_EDGE: Final = 6
_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fcfbf8; --ink: #1d1c1a; --ink-3: #66635b;
  --rule: #dedad1; --accent: #0d5c78; --bad: #a8281c; --good: #22653c; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e8e5de;
  --ink-3: #98948b; --rule: #33363b; --accent: #7fc4da; --bad: #f0958a; --good: #8cc99f; } }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { margin: 2.5rem 0 0; font-size: 1.15rem; }
.quiet { color: var(--ink-3); font-size: .875rem; }
.better { color: var(--good); } .worse { color: var(--bad); }
table { width: 100%; margin: 1rem 0; border-collapse: collapse; table-layout: fixed; }
caption { text-align: left; font-weight: 600; }
th, td { padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--rule); text-align: left;
  vertical-align: top; font-weight: 400; font-variant-numeric: tabular-nums; }
thead th { color: var(--ink-3); font-size: .875rem; border: 0; }
tbody th { overflow-wrap: anywhere; }
td { white-space: nowrap; }
svg { width: 100%; max-width: 240px; height: 20px; }
svg path { stroke: var(--accent); stroke-width: 2; } svg .axis { stroke: var(--rule); }
svg circle { fill: var(--accent); }
tr { break-inside: avoid; }
@media (max-width: 40rem) { thead { display: none; } tr { display: block;
  padding: .4rem 0; border-top: 1px solid var(--rule); }
  th, td { display: block; padding: 0; border: 0; } tbody th { font-weight: 600; } }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def check_report(file: Path) -> None:
    """Raise `UsageError` for a file that cannot be the report, before anything is judged."""
    if file.suffix != SUFFIX:
        raise UsageError(f"--report {file}: give a file name that ends in {SUFFIX}.")
    if not file.parent.is_dir():
        raise UsageError(f"--report {file}: there is no folder {file.parent}: make it first.")
    if os.path.lexists(file):
        raise UsageError(f"--report {file} exists already: give another name, or remove it.")


def write_report(found: Judgement, file: Path, *, private: bool = False) -> None:
    """Write the page. Raises `UsageError` where it tells what is private unless that is allowed.

    Raises `SystemFailure` where it cannot be written, and leaves no half of it.
    """
    page = report_page(found)
    told = [f"line {number}: {what}" for number, what in find_private(page)]
    require_public(told, f"--report {file}", allowed=private)
    try:
        atomic.write_file(file, page, new=True)
    except OSError as error:
        raise SystemFailure(f"{file} cannot be written ({error.strerror}).") from None


def report_page(found: Judgement) -> str:
    """Return the page."""
    title = f"{found.suite.name}: {', '.join(found.models)}"
    suite = f"The suite {found.suite.name}, asked and scored by lm-evaluation-harness"
    rows = f"{suite} {found.harness}. Of each model the same rows; intervals are {SHARE:.0%}"
    method = f"{rows}: {METHOD}."
    body = "".join(
        (
            f"<h1>{_text(title)}</h1>",
            *(f"<p>{_text(one)}</p>" for one in (*verdicts(found), *found.notes)),
            *(_section(found, task) for task in next(iter(found.models.values()))),
            f'<p class="quiet">{_text(method)} Nothing in this page is loaded from anywhere.</p>',
        )
    )
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def verdicts(found: Judgement) -> Iterator[str]:
    """Yield a sentence for each model but the first: which metrics changed beyond the noise."""
    (first, before), *others = found.models.items()
    for name, tasks in others:
        told: dict[str, list[str]] = {"better": [], "worse": [], "": []}
        for task, scores in tasks.items():
            for key, one in scores.metrics.items():
                old = before[task].metrics[key]
                if (change := one.change_from(old)) is not None:
                    told[verdict(one, change)].append(f"{task} {key}")
        words = [f"{', '.join(names)} {word}" for word, names in told.items() if names and word]
        same = f"{counted(len(told['']), 'metric')} within the noise of the rows"
        yield f"{name} against {first}: {'; '.join([*words, *[same] * bool(told[''])])}."


def verdict(one: MetricScore, change: Interval) -> str:
    """Return whether a change is better or worse; "" inside the noise of its rows."""
    if change.low <= 0 <= change.high:
        return ""
    return "better" if (change.mean > 0) == one.higher_is_better else "worse"


def _section(found: Judgement, task: str) -> str:
    scores = next(iter(found.models.values()))[task]
    tables = "".join(_table(found, task, key) for key in scores.metrics)
    return f"<h2>{_text(task)}, {counted(scores.rows, 'row')}</h2>{tables}"


def _table(found: Judgement, task: str, key: str) -> str:
    """Return a metric of a task: a line a model."""
    models = {name: tasks[task].metrics[key] for name, tasks in found.models.items()}
    before = next(iter(models.values()))
    low, high = _bounds(models.values())
    lines = []
    for name, one in models.items():
        within = one.interval()
        value = with_interval(one.value, within)
        change = None if one is before else one.change_from(before)
        lines.append(
            f'<tr><th scope="row">{_text(name)}</th><td>{_picture(one, within, low, high)}</td>'
            f"<td>{value}</td><td>{_change(one, before, change) if change else ''}</td></tr>"
        )
    head = "".join(f'<th scope="col">{one}</th>' for one in ("Model", "", "Value", "Change"))
    good = "higher" if before.higher_is_better else "lower"
    caption = f"<caption>{_text(key)} <span class='quiet'>({good} is better)</span></caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _bounds(scores: Iterable[MetricScore]) -> tuple[float, float]:
    """Return what a metric is drawn between: 0 and 1 if all of it lies there."""
    ends = [end for one in scores for end in (one.value, *(one.interval() or ())[1:])]
    return min(0.0, *ends), max(1.0, *ends)


def _picture(one: MetricScore, within: Interval | None, low: float, high: float) -> str:
    def place(value: float) -> float:
        return round(_EDGE + (value - low) / (high - low) * (WIDTH - 2 * _EDGE), 1)

    bar = f'<path d="M{place(within.low)},10H{place(within.high)}"/>' if within else ""
    axis = f'<path class="axis" d="M{_EDGE},10H{WIDTH - _EDGE}"/>'
    dot = f'<circle cx="{place(one.value)}" cy="10" r="4"/>'
    return f'<svg viewBox="0 0 {WIDTH} 20" aria-hidden="true">{axis}{bar}{dot}</svg>'


def _change(one: MetricScore, before: MetricScore, change: Interval) -> str:
    """Return a change: how much, if it is more than noise, and of how many rows."""
    moved = [after - old for old, after in zip(before.rows, one.rows, strict=True)]
    rose, fell = (sum(sign * each > 0 for each in moved) for sign in (1, -1))
    word = verdict(one, change) or "within the noise"
    said = (
        f'{with_interval(change.mean, change, "+")} <span class="{word.split()[0]}">{word}</span>'
    )
    return f'{said}<br><span class="quiet">{counted(rose, "row")} rose, {fell} fell</span>'


def _text(text: str) -> str:
    return escape(printable(text))

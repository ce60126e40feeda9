"""What others published after the model was done, beside the planner: for the accuracy chapter.

`draw(part, where, renderings)` makes the HTML of one part:

    record   a plot: how far half of the rows are off, when first seen and today, by kind of job
    unseen   a table: rows that we looked for ourselves and have tuned nothing on
    kinds    every kind of row in a table that sorts, folded
    words    what the planner refuses or goes without, word by word

All is counted when the page is built; the files themselves stay at home.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Final

from site_builder.cells import data_element
from site_builder.measurements import first_looks, later
from site_builder.renderings import Renderings
from unfrozen.answer.later import MEMORY, SPEED, Group, Look, grouped
from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.record import KINDS, Spread

TITLES: Final = {MEMORY: "Memory", SPEED: "Speed"}
LABELS: Final = {
    "adapters": "Adapters",
    "experts": "Experts",
    "low": "8 bits or fewer",
    "one": "One GPU",
    "machine": "One machine",
    "machines": "Several machines",
}
"""Kinds of jobs in few words, in the order of `unfrozen.plan.record.KINDS`."""

_TRIED: Final[dict[str, dict[str, Any]]] = {
    "pipelines": {"cluster": {"gpus": 2, "pipeline_parallel": 2}},
    "experts on GPUs of their own": {
        "model": CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].config,
        "cluster": {"gpus": 2, "expert_parallel": 2},
    },
    "models of an encoder and a decoder": {
        "model": {
            "model_type": "t5",
            "d_model": 512,
            "d_kv": 64,
            "d_ff": 2048,
            "num_layers": 6,
            "num_decoder_layers": 6,
            "num_heads": 8,
            "vocab_size": 32128,
        }
    },
}
PARTS: Final = ("record", "unseen", "kinds", "words")


def draw(part: str, where: str, renderings: Renderings) -> str:
    """The HTML of a part, one of `PARTS`."""
    if part == "record":
        return "".join(data_element("plot", _plot(of), where, renderings) for of in (MEMORY, SPEED))
    if part == "unseen":
        return data_element("table", _unseen(), where, renderings)
    if part == "words":
        return data_element("table", _count_refusals(), where, renderings)
    drawn = data_element("table", _kinds(), where, renderings)
    return (
        f'<details class="accuracy-details"><summary>All {len(later())} rows, by what their sources'
        f" call them</summary>\n{drawn}</details>\n"
    )


def rows_of(of: str, found: bool | None = None) -> list[Look]:
    """Rows of memory or of speed; of those only the ones we found ourselves, or only the others."""
    return [item for item in later() if item.row.of == of and found in (None, item.row.found)]


def spread(looks: Iterable[Look]) -> Spread:
    """How far the planned ones are off today."""
    return Spread.of([item.error for item in looks if item.error is not None])


def first_spread(looks: Iterable[Look]) -> Spread:
    """How far they were off when they were first compared."""
    known = first_looks()
    return Spread.of([known[item.row.key] for item in looks if item.row.key in known])


def missing(looks: Iterable[Look]) -> Counter[str]:
    """Keys of jobs for which the planner has no word, by how many rows it cannot plan."""
    return Counter(item.refused for item in looks if item.refused)


def outside() -> list[str]:
    """What no job can be, in words: each is tried."""
    return [name for name, job in _TRIED.items() if _is_refused(job)]


def _is_refused(job: dict[str, Any]) -> bool:
    try:
        Job.read({"model": CATALOGUE["meta-llama/Llama-3.2-1B"].config} | job)
    except PlanError:
        return True
    return False


def _plot(of: str) -> dict[str, Any]:
    looks = rows_of(of, found=False)
    kinds = [kind for kind in KINDS if any(item.kind == kind for item in looks)]
    by_kind = {kind: [item for item in looks if item.kind == kind] for kind in kinds}
    return {
        "title": TITLES[of],
        "type": "bar",
        "x_label": "Kind of job, and how many rows",
        "y_label": "Half of the rows lie within",
        "y_unit": "%",
        "x_data": [f"{LABELS[kind]} ({len(by_kind[kind])})" for kind in kinds],
        "lines": [
            {"label": "when first compared", "data": _halves(first_spread, by_kind.values())},
            {"label": "today", "data": _halves(spread, by_kind.values())},
        ],
    }


def _halves(count: Any, kinds: Iterable[Sequence[Look]]) -> list[float]:
    return [round(100 * count(looks).half, 1) for looks in kinds]


def _unseen() -> dict[str, Any]:
    groups = [
        (TITLES[of], group) for of in (MEMORY, SPEED) for group in grouped(rows_of(of, found=True))
    ]
    return _table([[title, group.name, *_numbers(group)] for title, group in groups], [])


def _kinds() -> dict[str, Any]:
    known = first_looks()
    rows = []
    for of in (MEMORY, SPEED):
        looks = rows_of(of, found=False)
        for group in grouped(looks):
            firsts = [
                abs(known[item.row.key])
                for item in looks
                if item.row.kind == group.name and item.row.key in known
            ]
            first = round(100 * median(firsts), 1) if firsts else None
            rows.append([TITLES[of], group.name, *_numbers(group), first])
    return _table(rows, ["Half, at first"])


def _numbers(group: Group) -> list[Any]:
    found = group.spread
    if found is None:
        return [group.rows, None, None, None]
    return [
        group.rows,
        round(100 * found.half, 1),
        round(100 * found.most, 1),
        round(100 * group.worst, 1),
    ]


def _table(rows: list[list[Any]], more: list[str]) -> dict[str, Any]:
    headers = ["Of", "Kind", "Rows", "Half within", "Nine in ten", "Worst", *more]
    units = ["", "", "", "%", "%", "%", *("%" for _ in more)]
    return {"headers": headers, "units": units, "rows": rows}


def _count_refusals() -> dict[str, Any]:
    refused = missing(later())
    unsaid = Counter(word for item in later() for word in item.unsaid if "." in word)
    plain = Counter(word for item in later() for word in item.row.no_word.split("; ") if word)
    rows: list[list[Any]] = [[word, "refused", n] for word, n in refused.most_common()]
    rows += [[word, "planned without", n] for word, n in unsaid.most_common()]
    rows += [[word, "cannot be said", n] for word, n in plain.most_common()]
    return {
        "headers": ["What the rows would have to say", "What becomes of them", "Rows"],
        "rows": rows,
    }

"""What a comparison found, for the page and for the document: means over seeds, and every run."""

from __future__ import annotations

from math import ceil
from statistics import mean
from typing import Any, Final

from lora.methods import ALPHA, TARGETS
from lora.study import LEARNED, METHODS, Done, best_rate
from lora.trial import Setting
from unfrozen.units import format_bytes

DIGITS: Final = 5  # of what is published: more than three seeds can tell apart


def published(setting: Setting, seeds: tuple[int, ...], done: list[Done]) -> dict[str, Any]:
    """Plain data: `methods` at their best rates, and all `runs`; losses in nats a token, bytes.

    A method whose ladder is not climbed yet is among the runs only; one whose seeds are not all
    there says with `seeds` how many are. Raises ValueError where nothing is done.
    """
    if not done:
        raise ValueError("no run is done yet: there is nothing to publish")
    first = done[0].outcome
    found = [(method, best_rate(method, done, seeds[0])) for method in METHODS]
    return {
        "setting": setting.id,
        "text_set": setting.text_set,
        "answer_set": setting.answer_set,
        "choices": setting.choices,
        "alpha": ALPHA,
        "targets": list(TARGETS),
        "seeds": list(seeds),
        "made": _made(done),
        "learned": ceil(LEARNED * first.task_right[2]),
        "rows": {"task": first.task_right[2], "general": first.general_right[2]},
        "before": {
            "task": _short(first.task_before),
            "general": _short(first.general_before),
            "task_right": first.task_right[0],
            "general_right": first.general_right[0],
        },
        "methods": [
            _at_best([one for one in done if (one.run.method, one.run.rate) == (method, rate)])
            for method, rate in found
            if rate is not None
        ],
        "runs": [_run(one) for one in done],
    }


def _made(done: list[Done]) -> dict[str, Any]:
    """What computed the runs; several values where they differ."""
    kinds = [one.made | {"versions": tuple(one.made["versions"].items())} for one in done]
    made: dict[str, Any] = {
        key: list(dict.fromkeys(kind[key] for kind in kinds)) for key in kinds[0]
    }
    made["versions"] = [dict(pairs) for pairs in made["versions"]]
    return {key: values[0] if len(values) == 1 else values for key, values in made.items()}


def _at_best(runs: list[Done]) -> dict[str, Any]:
    """One method at its best rate: means over seeds, spreads as half of largest less smallest."""
    run, outcomes = runs[0].run, [one.outcome for one in runs]
    losses = {
        name: [value for one in outcomes if (value := getattr(one, name)) is not None]
        for name in ("task", "general")
    }
    numbers: dict[str, Any] = {
        "id": run.method.id,
        "title": run.method.title,
        "rank": run.method.rank,
        "rate": run.rate,
        "seeds": len(runs),
        "trained": outcomes[0].trained,
    }
    for name, values in losses.items():
        whole = len(values) == len(runs)
        numbers[name] = _short(mean(values)) if whole else None
        numbers[f"{name}_spread"] = _short((max(values) - min(values)) / 2) if whole else None
    return numbers | {
        "task_right": _short(mean(one.task_right[1] for one in outcomes)),
        "general_right": _short(mean(one.general_right[1] for one in outcomes)),
        "drift": _short(mean(one.drift for one in outcomes)),
        "predicted_bytes": max(one.predicted_bytes for one in outcomes),
        "measured_bytes": max(one.measured_bytes for one in outcomes),
    }


def _run(one: Done) -> dict[str, Any]:
    outcome = one.outcome
    return {
        "method": one.run.method.id,
        "rate": one.run.rate,
        "seed": one.run.seed,
        "task": _short(outcome.task),
        "general": _short(outcome.general),
        "task_right": outcome.task_right[1],
        "general_right": outcome.general_right[1],
        "answers": outcome.answers,
        "drift": _short(outcome.drift),
        "looks": [[int(step), *map(_short, losses)] for step, *losses in outcome.looks],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def tables(found: dict[str, Any]) -> str:
    """What `published` gave, as two Markdown tables: the methods, and every rate that was tried."""
    return f"{_methods(found)}\n\n{_rates(found)}"


def _methods(found: dict[str, Any]) -> str:
    before, rows = found["before"], found["rows"]
    text, answers = (found[key].rpartition("/")[2] for key in ("text_set", "answer_set"))
    lines = [
        f"| method | trained | rate | task right, of {rows['task']} | {answers} right, of"
        f" {rows['general']} | task loss | {text} loss | drift | memory | measured |",
        f"|---|{'--:|' * 9}",
        f"| before training | | | {before['task_right']} | {before['general_right']} |"
        f" {before['task']:.3f} | {before['general']:.3f} | | | |",
    ]
    for one in found["methods"]:
        cells = [
            one["title"],
            f"{one['trained']:,}",
            f"{one['rate']:g}",
            f"{one['task_right']:.1f}",
            f"{one['general_right']:.1f}",
            _with_spread(one, "task"),
            _with_spread(one, "general"),
            f"{one['drift']:.2%}",
            format_bytes(one["predicted_bytes"]),
            format_bytes(one["measured_bytes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_spread(one: dict[str, Any], name: str) -> str:
    if one[name] is None:
        return "diverged"
    spread = f" ± {one[f'{name}_spread']:.3f}" if one["seeds"] > 1 else ""
    return f"{one[name]:.3f}{spread}"


def _rates(found: dict[str, Any]) -> str:
    """Every rate with the first seed: rows of the task right / of the answer set / general loss."""
    runs = [run for run in found["runs"] if run["seed"] == found["seeds"][0]]
    rates = sorted({run["rate"] for run in runs})
    names = list(dict.fromkeys(run["method"] for run in runs))
    best = {(one["id"], one["rate"]) for one in found["methods"]}
    lines = [
        f"| rate | {' | '.join(names)} |",
        f"|--:|{'--:|' * len(names)}",
    ]
    for rate in rates:
        cells = []
        for name in names:
            at = next((r for r in runs if (r["method"], r["rate"]) == (name, rate)), None)
            text = "" if at is None else _end(at)
            cells.append(f"**{text}**" if (name, rate) in best else text)
        lines.append(f"| {rate:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _end(run: dict[str, Any]) -> str:
    if run["task"] is None:
        return "diverged"
    return f"{run['task_right']} / {run['general_right']} / {run['general']:.3f}"

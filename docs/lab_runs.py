"""Runs every preset of the page's fine-tune with five seeds: `python docs/lab_runs.py`.

Writes web/measurements/lab.json, which chapter 3 quotes. tests/unfrozen/lab/test_page_run.py checks
every sentence of a preset against every run in it, and repeats some of them. Ten minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean
from typing import Any, Final

from gpu_runner import demo
from unfrozen.lab.choices import PRESETS, SEEDS, Choices, RunPreset
from unfrozen.lab.demo import FILES, Demo
from unfrozen.lab.fine_tune import ClockFunctions, FineTune

LONGER: Final = RunPreset("longer", "", {"steps": 400}, "")
"""No preset, but chapter 3 speaks of it."""
OUT: Final = Path(__file__).parents[1] / "web" / "measurements" / "lab.json"


def shipped() -> Demo:
    """The demo model and its rows, from disk."""
    folder = demo.card().parent
    return Demo.read({name: (folder / name).read_bytes() for name in FILES})


def outcome(given: Demo, preset: RunPreset, seed: int) -> dict[str, Any]:
    """Where one run ends: losses by set and answers by prompt, before and after, and the drift."""
    choices = Choices.read({"eval_every": 10_000, "seed": seed} | dict(preset.choices))
    run = FineTune(given, choices, ClockFunctions(time.time, time.monotonic))
    answers: dict[str, list[str]] = {}
    for event in run.events():
        if event is not None and event["kind"] == "sample":
            answers.setdefault(event["prompt"], []).append(event["text"].strip())
    ended = {"status": run.status, "losses": run.losses, "answers": answers}
    return ended | {"drift": run.trainer.drift()[1]}


def summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds: losses before and after by set, and the drift."""
    suites = outcomes[0]["losses"]
    return {
        "losses": {
            suite: [round(mean(o["losses"][suite][when] for o in outcomes), 4) for when in (0, 1)]
            for suite in suites
        },
        "drift": round(mean(o["drift"] for o in outcomes), 4),
    }


def rounded(outcome: dict[str, Any]) -> dict[str, Any]:
    """As the file holds it."""
    losses = {suite: [round(loss, 6) for loss in both] for suite, both in outcome["losses"].items()}
    return outcome | {"losses": losses, "drift": round(outcome["drift"], 6)}


def main() -> None:
    """Run them all and write the file."""
    given = shipped()
    runs = {p.id: [outcome(given, p, seed) for seed in SEEDS] for p in (*PRESETS, LONGER)}
    found = {
        "steps": Choices().steps,
        "seeds": list(SEEDS),
        "presets": {preset.id: summary(runs[preset.id]) for preset in PRESETS},
        "runs": {name: [rounded(one) for one in of] for name, of in runs.items()},
    }
    OUT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()

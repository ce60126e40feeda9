"""Compares published runs, some of which ran out of memory, with the verdicts of the planner.

`fits_third.json` holds 228 runs on A100s: 144 that ran, with what PyTorch allocated and nvidia-smi
saw, and 84 that ran out of memory. Models and recipes stand once. `fits_fourth.json` holds two that
ran, and names the peaks of `memory_fourth.json` whose GPU is known: those ran as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from site_builder.measurements import read_runs
from unfrozen.answer.accuracy import COLLECTIONS, MEMORY, merge_settings
from unfrozen.plan import VERDICTS, Plan, plan
from unfrozen.plan.record import FitCounts
from unfrozen.units import gib

FOLDER = Path(__file__).parent / "measurements"


@dataclass(frozen=True, slots=True)
class FitRun:
    """A published run and its plan: whether it ran, and what PyTorch and nvidia-smi counted, None
    where it ran out of memory.
    """

    id: str
    plan: Plan
    ran: bool
    allocated_gib: float | None
    shown_gib: float | None


def read_fits(*, documented: bool = True) -> list[FitRun]:
    """Return the runs, with the settings that their sources document unless only what the job of
    each says shall count.
    """
    given = json.loads((FOLDER / "fits_third.json").read_text("utf-8"))
    found = _read_fourth(documented)
    for values in given["runs"]:
        row = dict(zip(given["columns"], values, strict=True))
        recipe = {**given["recipes"][row["recipe"]], "micro_batch": row["micro_batch"]}
        for entry in given["documented"] if documented else ():
            if any(fnmatchcase(row["id"], pattern) for pattern in entry["rows"]):
                recipe |= entry["recipe"]
        sharding = "zero3" if row["gpus"] > 1 else "none"
        job = {
            "model": given["models"][row["model"]],
            "recipe": recipe,
            "cluster": {"gpus": row["gpus"], "sharding": sharding},
            "gpu": "A100 80GB SXM",
            "framework": "transformers",
        }
        shown = row["nvidia_smi_gib"] if row["ran"] else None
        found.append(FitRun(row["id"], plan(job), row["ran"], row["allocated_gib"], shown))
    return found


def _read_fourth(documented: bool) -> list[FitRun]:
    fourth = json.loads((FOLDER / "fits_fourth.json").read_text("utf-8"))
    later = [row for row in read_runs() if row.group in COLLECTIONS]
    peaks = {row.id: row for row in later if row.of == MEMORY}
    jobs = {row["id"]: row["job"] for row in fourth["runs"]}
    for name in fourth["peaks"]:
        jobs[name] = merge_settings(peaks[name].job, peaks[name].documented if documented else {})
    return [FitRun(name, plan(job), True, None, None) for name, job in jobs.items()]


def count_fits(runs: list[FitRun]) -> FitCounts:
    """Return the verdicts on runs, and how many of what GPUs showed the bands hold."""
    fits, _, not_fits = ([run for run in runs if run.plan.verdict == word] for word in VERDICTS)
    shown = [run for run in runs if run.shown_gib is not None]
    return FitCounts(
        runs=len(runs),
        fitting=len(fits),
        failed=sum(not run.ran for run in fits),
        not_fitting=len(not_fits),
        ran_yet=sum(run.ran for run in not_fits),
        shown=len(shown),
        inside=sum(_is_inside(run) for run in shown),
    )


def _is_inside(run: FitRun) -> bool:
    """Return whether the band holds what the GPU showed, which may be all that it has: nvidia-smi
    counts what no program can allocate.
    """
    low, high = run.plan.band_gib
    assert run.shown_gib is not None
    assert run.plan.job.gpu is not None
    return low <= min(run.shown_gib, gib(run.plan.job.gpu.capacity_bytes)) <= high

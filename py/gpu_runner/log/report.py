"""`unfrozen report`: what a run measured, in one line, for the record of predicted and measured.

    events.jsonl → `WholeLog` → `MEASURED_RUN`: recipe, GPU, versions, peak, speed

The shape of the line is closed: no name, path, text or address of the run can be in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
import time
from pathlib import Path
from typing import Any

from gpu_runner.errors import CheckpointError
from gpu_runner.log.check_run import WholeLog
from gpu_runner.log.tail import LOG_NAME
from unfrozen.answer.shapes import MEASURED_RUN
from unfrozen.job.recipe import RECIPE_SETTINGS
from unfrozen.schema.check import check

_COUNTERS = {"cuda": "allocated", "tensors": "tensors"}


def report_run(run: Path) -> dict[str, Any]:
    """Return what a run measured, of `MEASURED_RUN`'s shape. Raises `RunnerError`."""
    log = WholeLog.read(run / LOG_NAME)
    start, summary = log.start, log.end.get("summary") or {}
    if not summary.get("measured_peak_bytes"):
        status = log.end.get("status")
        bound = f"it ended as {status} without a peak" if status else "it has not ended"
        raise CheckpointError(f"{run} has measured nothing to report: {bound}. Report another run.")
    hardware = start.get("hardware") or {}
    recipe = start.get("recipe") or {}
    model = start.get("model") or {}
    keys = ("type", "config_sha256", "num_parameters", "num_trained")
    found = {
        "month": time.strftime("%Y-%m", time.gmtime(start["t"])),
        "framework": re.sub(r"\s[\d.]+$", "", start.get("trainer") or "unfrozen"),
        "model": {key: model[key] for key in keys if key in model},
        "recipe": {key: recipe[key] for key in recipe if key in (*RECIPE_SETTINGS, "lora")},
        "gpu": hardware.get("gpu") or hardware.get("cpu") or "",
        "gpus": hardware.get("processes") or 1,
        "versions": start.get("versions") or {},
        "counter": _COUNTERS.get(log.counter, "allocated"),
        "measured_peak_bytes": summary["measured_peak_bytes"],
        "predicted_peak_bytes": summary.get("predicted_peak_bytes") or None,
    }
    if speeds := log.speeds[1:]:  # the first step compiles, and makes the optimizer's states
        found["tokens_per_second"] = round(statistics.median(speeds), 1)
    checked = check(MEASURED_RUN, found, "the report")
    if checked.problem:
        raise CheckpointError(f"{run} cannot be reported: {checked.problem}.")
    return found


def file_name(report: dict[str, Any]) -> str:
    """Return the name of a report's file: its month and a hash of what it says."""
    content = json.dumps(report, sort_keys=True).encode()
    return f"{report['month']}-{hashlib.sha256(content).hexdigest()[:12]}.json"

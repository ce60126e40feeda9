"""The recorded runs as the prose speaks of them: what was said, and what was lost and learned."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from site_builder.widgets import WEB


@cache
def events(recording: str) -> tuple[dict[str, Any], ...]:
    """Every event of the log of `web/recordings/RECORDING.jsonl`."""
    log = WEB / "recordings" / f"{recording}.jsonl"
    return tuple(json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())


def said(recording: str, prompt: str, when: str) -> str:
    """What the model answered, "before" training or "after"; StopIteration if it was not asked."""
    samples = (event for event in events(recording) if event["kind"] == "sample")
    found = next(s for s in samples if (s["prompt"], s["when"]) == (prompt, when))
    return str(found["text"]).strip()


def losses(recording: str, suite: str) -> tuple[float, float]:
    """Held-out loss before the first step and after the last, of "task" or "general"."""
    found = [e["loss"] for e in events(recording) if e["kind"] == "eval" and e["suite"] == suite]
    return float(found[0]), float(found[-1])


def steps(recording: str) -> int:
    """How many steps the run made."""
    return int(events(recording)[-1]["step"])

"""`unfrozen check`: how a run stands, what looks wrong with it, which checkpoint to take.

    events.jsonl → `WholeLog` → problems: the symptom, what the log shows, what to try first

Symptoms and remedies are those of the article's chapter on runs that go wrong, word for word; the
trainer's own alerts stand beside them. A symptom is a resemblance, not a verdict: it comes with its
numbers. Needs no PyTorch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gpu_runner.atomic import MANIFEST
from gpu_runner.checkpoint.directory import finished, step_of
from gpu_runner.errors import CheckpointError
from gpu_runner.log.runs import describe
from gpu_runner.log.tail import LOG_NAME, event_lines
from gpu_runner.text import printable, signed, typed
from unfrozen.events import LIVE_STATUSES
from unfrozen.schema import read_line

MOST_LOG_BYTES: Final = 2**28
"""The longest log that is read as a whole: 500,000 steps, in half a minute."""
MOST_ALERTS: Final = 20
FLAT_SHARE: Final = 0.05
"""A fall of the loss that is none: at a rate of 1e-6 the chapter's flat run falls by 4%."""
FLAT_STEPS: Final = 50
LEAP_SHARE: Final = 0.5
"""A rise above the highest of the last steps that is a leap, of the loss in the beginning."""
BEFORE: Final = 20
PADDING_SHARE: Final = 0.2
IDLE_SHARE: Final = 0.5
SYMPTOMS: Final = {
    "flat": (
        "The loss is flat",
        "Try first ten times the rate for fifty steps (--lr; learning_rate in Trainer and TRL).",
    ),
    "leaps": (
        "The loss leaps, or is NaN",
        "Try first a third of the rate, a warm-up (--warmup; warmup_steps) and clipping at one"
        " (--clip; max_grad_norm).",
    ),
    "leap": (
        "The loss leaps, or is NaN",
        "A single leap points to its batch: read those rows.",
    ),
    "forgets": (
        "It learns and forgets",
        "Try first a third of the rate for three times the steps, then a tenth of old examples"
        " (--replay; interleave_datasets of the datasets library), then a part of the way back.",
    ),
    "endless": (
        "It does not stop",
        "Try first to print an encoded example: its last token must be the end token, and count.",
    ),
    "memory": (
        "Out of memory",
        "Try first half the micro-batch and twice the accumulation (--micro-batch, --grad-accum;"
        " per_device_train_batch_size, gradient_accumulation_steps), then recomputation"
        " (--checkpointing full; gradient_checkpointing).",
    ),
    "padding": ("It is slow", "Pack short rows (--packing; packing)."),
    "idle": (
        "It is slow",
        "A GPU that is idle between steps waits for data: dataloader_num_workers.",
    ),
}
"""Title and first remedy of each symptom, as the chapter has them."""
_STANDINGS: Final = {
    "running": "it trains",
    "paused": "it is paused, as requested",
    "stalled": "its process lives, but has been silent for longer than it announced",
    "gone": "its process ended without logging its end: it was killed, or the machine went down",
}


@dataclass(slots=True)
class WholeLog:
    """A run by the whole of its log; what a resume discarded is left out.

    start   its first `run.start`; `rows` its examples; `end` its `run.end`, {} before it
    losses  training losses by step; `evals` the evaluations by step and set
    newest  the newest value of every other metric; `busy` how busy its GPUs were
    speeds  tokens per second of its steps; `counter` what counted its memory
    alerts  the newest MOST_ALERTS, the same text once
    """

    start: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)
    evals: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    newest: dict[str, float] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    counter: str = ""
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, log: Path) -> WholeLog:
        """Read it; damaged lines are left out. Raises `CheckpointError` for what is no log."""
        try:
            size = log.stat().st_size
            if size > MOST_LOG_BYTES:
                raise CheckpointError(
                    f"{log} has {size:,} bytes, of at most {MOST_LOG_BYTES:,}: unfrozen export"
                    " writes its metrics as CSV."
                )
            found = cls()
            for line in event_lines(log):
                if (event := read_line(line).value) is not None:
                    found._take(event)
        except FileNotFoundError:
            raise CheckpointError(
                f"{log.parent} is not a run: it has no {LOG_NAME}. Give a run, by its id or its"
                " directory; unfrozen import reads runs of other tools."
            ) from None
        except OSError as error:
            raise CheckpointError(f"{log}: {error.strerror}.") from None
        return found

    def _take(self, event: dict[str, Any]) -> None:
        kind, step = event["kind"], event.get("step", 0)
        if kind == "run.start":
            self.start = self.start or event
        elif kind == "run.resume":
            self.end = {}
            for discarded in (self.losses, self.evals):
                for at in [at for at in discarded if at > event["from_step"]]:
                    del discarded[at]
        elif kind in ("metrics", "sys"):
            values = {name: float(value) for name, value in event.get("m", {}).items()}
            if "train/loss" in values:
                self.losses[step] = values.pop("train/loss")
            self.busy += [v for name, v in values.items() if name.startswith("gpu/busy")]
            if speed := values.get("perf/tokens_per_second"):
                self.speeds.append(speed)
            self.newest |= values
        elif kind == "mem":
            self.counter = event.get("source", self.counter)
        elif kind == "eval":
            self.evals.setdefault(step, {})[event["suite"]] = event
        elif kind == "rows":
            self.rows |= event
        elif kind == "alert":
            self.alerts.pop(event["text"], None)
            self.alerts[event["text"]] = event
            if len(self.alerts) > MOST_ALERTS:
                del self.alerts[next(iter(self.alerts))]
        elif kind == "run.end":
            self.end = event

    def loss(self, suite: str, step: int) -> float | None:
        """Return the held-out loss of a set at a step; None where it was not evaluated."""
        found = self.evals.get(step, {}).get(suite)
        return None if found is None else float(found["loss"])


@dataclass(frozen=True, slots=True)
class Problem:
    """A symptom of the chapter in a run: its title, what the log shows, what to try first."""

    symptom: str
    shows: str
    remedy: str
    step: int

    @classmethod
    def of(cls, name: str, shows: str, step: int, remedy: str = "") -> Problem:
        """Return the problem of one of `SYMPTOMS`; `remedy` is a better one, for this run."""
        title, usual = SYMPTOMS[name]
        return cls(title, shows, remedy or usual, step)


def find_problems(log: WholeLog) -> Iterator[Problem]:
    """Yield what looks wrong, the worst first."""
    yield from _memory(log)
    yield from (leaps := [*_leaps(log)])
    if not leaps:
        yield from _flat(log)
    yield from _forgets(log)
    yield from _endless(log)
    yield from _slow(log)


def _memory(log: WholeLog) -> Iterator[Problem]:
    if log.end.get("status") == "oom":
        advice = (log.end.get("post_mortem") or {}).get("advice", "")
        yield Problem.of("memory", str(log.end.get("reason", "")), log.end.get("step", 0), advice)


def _leaps(log: WholeLog) -> Iterator[Problem]:
    steps = sorted(log.losses)
    bad = next((step for step in steps if not math.isfinite(log.losses[step])), None)
    if bad is not None:
        yield Problem.of("leaps", f"the training loss is {log.losses[bad]:g} at step {bad:,}", bad)
        return
    if skipped := int(log.newest.get("train/skipped", 0)):
        shows = f"{skipped:,} steps were skipped: their gradients were not finite"
        yield Problem.of("leaps", shows, steps[-1] if steps else 0)
    losses = [log.losses[step] for step in steps]
    if not losses:
        return
    high = LEAP_SHARE * statistics.mean(losses[: max(1, min(BEFORE, len(losses) // 5))])
    leaps = [
        at
        for at in range(1, len(losses))
        if losses[at] > max(losses[max(0, at - BEFORE) : at]) + high
    ]
    if leaps:
        worst = max(leaps, key=lambda at: losses[at])
        shows = f"the training loss leaps from {losses[worst - 1]:.3f} to {losses[worst]:.3f}"
        shows += f" nats at step {steps[worst]:,}"
        shows += f", one of {len(leaps)} leaps" if len(leaps) > 1 else ""
        ends = losses[-1] > losses[0] or len(leaps) > 1
        yield Problem.of("leaps" if ends else "leap", shows, steps[worst])


def _flat(log: WholeLog) -> Iterator[Problem]:
    steps = sorted(log.losses)
    if len(steps) < FLAT_STEPS:
        return
    fifth = len(steps) // 5
    first, last = (
        statistics.mean(log.losses[s] for s in part) for part in (steps[:fifth], steps[-fifth:])
    )
    task = [loss for step in sorted(log.evals) if (loss := log.loss("task", step)) is not None]
    pairs = [(first, last), *([(task[0], task[-1])] if len(task) > 1 else [])]
    if all(b > (1 - FLAT_SHARE) * a for a, b in pairs):
        shows = f"the training loss went from {first:.3f} to {last:.3f} nats"
        yield Problem.of("flat", f"{shows} in {len(steps):,} steps", steps[-1])


def _forgets(log: WholeLog) -> Iterator[Problem]:
    """Yield a problem where a general set is worse than at first, beyond the noise."""
    first_step, step = min(log.evals, default=0), max(log.evals, default=0)
    worse = []
    for suite, newest in log.evals.get(step, {}).items():
        first = log.evals[first_step].get(suite)
        if first and suite.startswith("general") and (text := _worse(first, newest)):
            worse.append((float(newest["loss"]) - float(first["loss"]), f"{suite} {text}"))
    if worse:
        texts = [text for _, text in sorted(worse, reverse=True)[:3]]
        yield Problem.of("forgets", f"since step {first_step:,}: {'; '.join(texts)}", step)


def _worse(first: Mapping[str, Any], newest: Mapping[str, Any]) -> str:
    """Return how much worse a set is; "" within the noise, and for other examples."""
    if first.get("examples") != newest.get("examples"):
        return ""
    before, after = (one.get("exact") or {} for one in (first, newest))
    if before.get("interval") and after.get("interval"):
        lost = after["interval"][1] < before["interval"][0]
        text = f"answers {after['right']} of {after['of']} right, {before['right']} before"
        return text if lost else ""
    low, high = map(float, newest.get("change") or (0, 0))
    moved = float(newest["loss"]) - float(first["loss"])
    return f"{signed(moved)} nats ({signed(low)} to {signed(high)})" if low > 0 else ""


def _endless(log: WholeLog) -> Iterator[Problem]:
    step = max(log.evals, default=0)
    for suite, event in log.evals.get(step, {}).items():
        exact = event.get("exact") or {}
        endless, right = exact.get("does_not_stop", 0), exact.get("right", 0)
        if suite == "task" and endless > right:
            shows = f"{endless} of {exact['of']} held-out answers are right and do not stop"
            yield Problem.of("endless", shows, step)
            return
    counts = log.rows.get("counts") or {}
    if endless := counts.get("endless"):
        shows = f"{endless:,} of {counts.get('rows', 0):,} examples train no end token"
        yield Problem.of("endless", shows, 0)


def _slow(log: WholeLog) -> Iterator[Problem]:
    padding = log.rows.get("padding") or {}
    if padding.get("ratio", 0) > PADDING_SHARE and not padding.get("packed"):
        shows = f"{padding['ratio']:.0%} of the tokens are padding, computed and discarded"
        yield Problem.of("padding", shows, 0)
    if len(log.busy) >= BEFORE and (busy := statistics.median(log.busy)) < IDLE_SHARE:
        yield Problem.of(
            "idle", f"the GPUs compute {busy:.0%} of the time", max(log.losses, default=0)
        )


# --- which checkpoint ---------------------------------------------------------------------------
def choose_checkpoint(run: Path, log: WholeLog) -> dict[str, Any] | None:
    """Return the checkpoint or model on disk with the lowest task loss, else the newest.

    None where the run has none: a loop that is watched saves its own.
    """
    places = [(path, step_of(path) or 0) for path in finished(run / "checkpoints")]
    summary = log.end.get("summary") or {}
    places += [(run / "model", int(summary.get("steps", log.end.get("step", 0))))]
    found = []
    for path, step in places:
        if (path / MANIFEST).is_file():
            last = (summary.get("losses") or {}).get("task", [None])[-1]
            loss = (
                float(last) if path.name == "model" and last is not None else log.loss("task", step)
            )
            found.append((path, step, loss))
    if not found:
        return None
    measured = [one for one in found if one[2] is not None and math.isfinite(one[2])]
    path, step, loss = (
        min(reversed(measured), key=lambda one: one[2] or 0.0) if measured else found[-1]
    )
    general = log.evals.get(step, {}).get("general", {}).get("delta")
    why = f"the lowest task loss of {len(measured)} on disk" if measured else "the newest on disk"
    return {
        "path": str(path),
        "step": step,
        "task_loss": loss,
        "general_delta": None if general is None else float(general),
        "why": why,
    }


# --- the answer ---------------------------------------------------------------------------------
def check_run(run: Path, now: float) -> dict[str, Any]:
    """Return how the run in a directory stands at `now` (Unix seconds), as plain data.

    `status` and `standing` say how it is, `problems` what looks wrong, `alerts` what its trainer
    said, `take` which checkpoint to use, `resume` the command where it did not finish. Raises
    `CheckpointError` for what is no run.
    """
    log = WholeLog.read(run / LOG_NAME)
    info = describe(run.name, run / LOG_NAME, now)
    if info is None:
        raise CheckpointError(f"{run / LOG_NAME} holds no whole event: it is no log of a run.")
    take = choose_checkpoint(run, log)
    resumable = info.status not in ("finished", "running", "paused") and finished(
        run / "checkpoints"
    )
    return {
        **{"run": info.id, "model": info.model, "status": info.status},
        "standing": _STANDINGS.get(info.status) or str(log.end.get("reason", "")),
        **{"step": info.step, "steps": info.steps, "live": info.status in LIVE_STATUSES},
        "problems": [asdict(each) for each in find_problems(log)],
        "alerts": [
            {"level": each["level"], "text": each["text"], "step": each.get("step", 0)}
            for each in log.alerts.values()
            if each.get("level", "info") != "info"
        ],
        "take": take,
        "resume": f"unfrozen resume {typed(str(run))}" if resumable else None,
    }


def check_text(found: Mapping[str, Any]) -> str:
    """Return `check_run` for a terminal."""
    of = f" of {found['steps']:,}" if found["steps"] else ""
    lines = [
        f"{found['run']}: {found['status']} at step {found['step']:,}{of}; {found['standing']}"
    ]
    for each in found["problems"]:
        lines += ["", each["symptom"], f"  {each['shows']}.", f"  {each['remedy']}"]
    if not found["problems"]:
        lines += ["", "Nothing in its log looks wrong."]
    lines += [
        "",
        *(f"{each['level']}, step {each['step']:,}: {each['text']}" for each in found["alerts"]),
    ]
    if take := found["take"]:
        loss = "" if take["task_loss"] is None else f", task loss {take['task_loss']:.4f} nats"
        lines += [f"Take {take['path']}: step {take['step']:,}{loss}; {take['why']}."]
    if found["resume"]:
        lines += [f"Go on: {found['resume']}"]
    return printable("\n".join(lines).rstrip(), lines=True)

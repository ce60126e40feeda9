"""trainer_state.json: what Hugging Face Trainer, and all of TRL, writes into every checkpoint.

Fields as `transformers.TrainerState` has them. `log_history` is a list of what was logged, each
entry with its `step`; nothing in it is dated.
"""

from __future__ import annotations

import json
from typing import Any, Final

from unfrozen.errors import ForeignFileError, is_deep
from unfrozen.events import RunStatus
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import LAST_STEP, Points
from unfrozen.imported.sanitize import number, whole_number
from unfrozen.imported.tools import EXPECTED

_SETTINGS: Final = (
    "num_train_epochs",
    "train_batch_size",
    "logging_steps",
    "eval_steps",
    "save_steps",
)
_RESULTS: Final = (
    "best_metric",
    "best_global_step",
    "best_model_checkpoint",
    "epoch",
    "total_flos",
)
_AGAIN: Final = "copy it again, or take that of an earlier checkpoint"


def read_trainer_state(file: str, whole: str, digest: str) -> ForeignRun:
    """Return the run in a file's text. Raises `ForeignFileError` for an incomplete state."""
    state = _state(file, whole)
    points, passed = Points(), 0
    results = {key: state.get(key) for key in _RESULTS}
    for entry in state["log_history"]:
        if not isinstance(entry, dict) or number(entry.get("step")) is None:
            passed += 1
        elif "train_loss" in entry and "loss" not in entry:  # its last words
            results |= {key: value for key, value in entry.items() if key != "step"}
        else:
            passed += _take(points, entry)
    if not points.count:
        remedy = "it was saved before the first logged step (logging_steps): take a later one"
        raise ForeignFileError(file, "its log_history holds no number", remedy)
    steps, last = (whole_number(state.get(key), LAST_STEP) for key in ("max_steps", "global_step"))
    last = max(last, points.last_step)
    status, reason = _status(steps, last, over="train_runtime" in results)
    return ForeignRun(
        "trainer",
        points,
        digest,
        steps=steps,
        last_step=last,
        status=status,
        reason=reason,
        runtime=number(results.get("train_runtime")) or 0.0,
        config={"max_steps": steps, **{key: state.get(key) for key in _SETTINGS}},
        summary={key: value for key, value in results.items() if value is not None},
        notes=[f"{passed:,} of its entries and values are no numbers"] if passed else (),
    )


def _state(file: str, text: str) -> dict[str, Any]:
    if is_deep(text):
        raise ForeignFileError(file, "it is nested deeper than any state", EXPECTED)
    try:
        state = json.loads(text)
    except json.JSONDecodeError as error:
        at = len(text[: error.pos].encode())
        problem = f"it is no whole JSON ({error.msg[:80]})"
        raise ForeignFileError(file, problem, _AGAIN, at) from None
    except ValueError:  # an integer of thousands of digits
        raise ForeignFileError(file, "a number in it has no end", _AGAIN) from None
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise ForeignFileError(file, "it is JSON without a log_history", EXPECTED)
    return state


def _take(points: Points, entry: dict[str, Any]) -> int:
    """Take the numbers of one entry; how many of its values are none."""
    step = number(entry["step"]) or 0.0
    if step != step // 1 or not 0 <= step <= LAST_STEP:
        step = -1.0  # which `points` counts
    passed = 0
    for name, value in entry.items():
        found = number(value)
        if found is None:
            passed += 1
        elif name != "step":
            points.add(name, int(step), found)
    return passed


def _status(steps: int, last: int, *, over: bool) -> tuple[RunStatus, str]:
    """Return the status of the run when the state was written, as far as it tells."""
    if steps and last >= steps:
        return "finished", ""
    of = f" of {steps:,}" if steps else ""
    if over:
        return "stopped", f"training ended at step {last:,}{of}"
    return "stopped", f"this was saved at step {last:,}{of}; what came after is not in it"

"""The first event of a watched run: what trains, on what, and what of it can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from gpu_runner.plan.predict import Prediction
from gpu_runner.run.events.start_event import hardware, versions
from gpu_runner.system.price import MOST_LETTERS, Price, Spending
from gpu_runner.watch.looking import Rows
from gpu_runner.watch.memory.holding import Known
from gpu_runner.watch.memory.in_parts import Owned
from gpu_runner.watch.memory.metering import States, layers_of
from gpu_runner.watch.steps import MicroBatch

WATCHED: Final = "watched"
EVERY: Final = 100
"""Steps between evaluations of a run whose length is not known."""
LOOKS: Final = 10
"""Evaluations of one whose length is."""
_WIDTHS: Final = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a run is to show, and what is known of its loop; see `gpu_runner.watch.watch`."""

    task: Rows | None = None
    general: Mapping[str, Rows] | None = None
    tokenizer: Any = None
    runs: str | Path = "runs"
    name: str | None = None
    steps: int | None = None
    eval_every: int | None = None
    prompts: Sequence[str] = ()
    new_tokens: int = 48
    trainer: str = "a loop of its own"
    can: tuple[str, ...] = ("pause", "evaluate")
    config: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    """Steps and learning rates as `run.start` has them, where they are known."""
    memory: Known = field(default_factory=Known)
    start_step: int = 0
    """Steps that were made before: more than 0 where the loop goes on with an earlier one."""
    processes: int = 1
    price: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Refuse numbers that are none, in words of another kind. Raises `TypeError`."""
        if self.price is not None and not isinstance(self.price, int | float):
            raise TypeError(f"price is a {type(self.price).__name__}: give a number, of an hour.")
        if not isinstance(self.currency, str) or not 0 < len(self.currency) <= MOST_LETTERS:
            raise TypeError(f"currency {self.currency!r}: give a word of 1 to {MOST_LETTERS}.")
        odd = [one for one in self.memory.lengths if not isinstance(one, int)]
        if odd:
            raise TypeError(f"lengths hold {odd[0]!r}: give the tokens of each row.")

    def spending(self, device: torch.device) -> Spending | None:
        """What the run costs from now on; None without a price."""
        price = Price.of(self.price, self.currency, device.type, self.processes)
        return None if price is None else Spending(price, self.steps or 0)

    @property
    def looks_every(self) -> int:
        """Steps between two evaluations."""
        if self.eval_every:
            return self.eval_every
        return max(1, -(-self.steps // LOOKS)) if self.steps else EVERY


def payload(
    model: Any, states: States, part: MicroBatch, wishes: Wishes, compute: torch.dtype | None
) -> dict[str, Any]:
    """Everything the page shows before the first step; the prediction is told apart.

    `compute` is the precision of autocast, None where there is none.
    """
    parameters = list(model.parameters())
    device = next((p.device for p in parameters), torch.device("cpu"))
    return {
        "source": WATCHED,
        "trainer": wishes.trainer,
        "can": list(wishes.can),
        "config": plain(wishes.config),
        "versions": versions(),
        "hardware": hardware(device) | {"processes": wishes.processes},
        "model": {
            "name": name_of(model),
            "num_parameters": sum(p.numel() for p in parameters),
            "num_trained": sum(p.numel() for p in parameters if p.requires_grad),
            "layers": layers_of(model),
        },
        "data": {},
        "recipe": recipe(model, states, part, compute),
        "plan": {"steps": wishes.steps or 0, **wishes.plan},
    }


def foretold(prediction: Prediction | None) -> dict[str, Any]:
    """A prediction as an event tells it; nothing where there is none."""
    if prediction is None:
        return {}
    return {
        "bytes_per_parameter": prediction.bytes_per_parameter,
        "predicted": {
            "peak_instant": prediction.peak_instant,
            "peak_bytes": prediction.peak_bytes,
            "instants": prediction.instants,
        },
    }


def recipe(
    model: Any, states: States, part: MicroBatch, compute: torch.dtype | None
) -> dict[str, Any]:
    """Precisions, optimizer and batch as they were found, in the words of a job's recipe."""
    trained = [p for p in Owned(model).parameters() if p.requires_grad]
    widths = sorted({_WIDTHS.get(p.dtype, str(p.dtype)) for p in trained})
    found: dict[str, Any] = {
        "params": " and ".join(widths),
        "micro_batch": part.rows,
        "seq_len": part.length,
    }
    if compute is not None:
        found["compute"] = _WIDTHS.get(compute, str(compute))
    if states.optimizers:
        found["optimizer"] = " and ".join(type(one).__name__ for one in states.optimizers)
        found["lr"] = max(float(group["lr"]) for group in states.param_groups)
        found["weight_decay"] = max(float(g.get("weight_decay", 0)) for g in states.param_groups)
    return found


def name_of(model: Any) -> str:
    """Where the model came from, or what it is."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(name or type(model).__name__)[:1000]


def plain(value: Any, deep: int = 4) -> Any:
    """What of a configuration can be written as JSON, other things as text, bounded."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and deep:
        return {str(k)[:200]: plain(v, deep - 1) for k, v in list(value.items())[:500]}
    if isinstance(value, list | tuple) and deep:
        return [plain(one, deep - 1) for one in value[:100]]
    return str(value)[:500]

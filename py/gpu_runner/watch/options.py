"""The options of a watched run, and the first events of its log: what trains, on what, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.feed import IGNORED
from gpu_runner.memory.fsdp import ShardView
from gpu_runner.memory.loop import Optimizers
from gpu_runner.run.payloads import (
    FIRST,
    fit_line,
    hardware,
    identity,
    lengths_payload,
    parts_of,
    versions,
)
from gpu_runner.system.price import MOST_LETTERS, Price, Spending
from gpu_runner.train.evaluate import token_pieces
from gpu_runner.watch.evaluation import Examples
from gpu_runner.watch.hooks import Inputs, SeveralModels
from gpu_runner.watch.memory import MemoryOptions
from gpu_runner.watch.steps import MicroBatch

WATCHED: Final = "watched"
EVAL_EVERY: Final = 100
"""Steps between evaluations of a run of unknown length."""
EVALUATIONS: Final = 10
"""Evaluations of a run of known length."""
_DTYPES: Final = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a run shows, and what is known of its loop; see `gpu_runner.watch.watch`."""

    task: Examples | None = None
    general: Mapping[str, Examples] | None = None
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
    """Steps and learning rates as in `run.start`, where they are known."""
    measure: bool = True
    lengths: Sequence[int] = ()
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    start_step: int = 0
    """Steps taken before: more than 0 where the loop resumes an earlier one."""
    processes: int = 1
    price: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Check the types of numbers. Raises `TypeError`."""
        if self.price is not None and not isinstance(self.price, int | float):
            raise TypeError(f"price is a {type(self.price).__name__}: pass a number, per hour.")
        if not isinstance(self.currency, str) or not 0 < len(self.currency) <= MOST_LETTERS:
            raise TypeError(f"currency {self.currency!r}: pass 1 to {MOST_LETTERS} letters.")
        odd = [one for one in self.lengths if not isinstance(one, int)]
        if odd:
            raise TypeError(
                f"lengths contain {odd[0]!r}: pass the number of tokens of each example."
            )

    def spending(self, device: torch.device) -> Spending | None:
        """Return what the run costs from now on; None without a price."""
        price = Price.of(self.price, self.currency, device.type, self.processes)
        return None if price is None else Spending(price, self.steps or 0)

    @property
    def evaluates_every(self) -> int:
        """Steps between two evaluations."""
        if self.eval_every:
            return self.eval_every
        return max(1, -(-self.steps // EVALUATIONS)) if self.steps else EVAL_EVERY


def describe_run(
    model: Any,
    optimizers: Optimizers,
    part: MicroBatch | None,
    options: WatchOptions,
    compute: torch.dtype | None,
) -> dict[str, Any]:
    """Return the `run.start` event: all that the page shows before the first step.

    The prediction is an event of its own. `compute` is the dtype of autocast, None without it.
    """
    parameters = list(model.parameters())
    device = next((p.device for p in parameters), torch.device("cpu"))
    return {
        "source": WATCHED,
        "trainer": options.trainer,
        "can": list(options.can),
        "config": to_json(options.config),
        "versions": versions(),
        "hardware": hardware(device) | {"processes": options.processes},
        "model": {
            "name": _name_model(model),
            **identity(model),
            "num_parameters": sum(p.numel() for p in parameters),
            "num_trained": sum(p.numel() for p in parameters if p.requires_grad),
        },
        "data": {},
        "recipe": _describe_recipe(model, optimizers, part, compute),
        "plan": {"steps": options.steps or 0, **options.plan},
    }


def describe_rows(inputs: Inputs, tokenizer: Any, lengths: Sequence[int]) -> dict[str, Any]:
    """Return the `rows` event: the first batch as the loop trains it, lengths if they are known."""
    found = {"lengths": lengths_payload(lengths)} if lengths else {}
    ids, labels = inputs.get("input_ids"), inputs.get("labels")
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        return {"how": "not known: the loop calls its model without input_ids", **found}
    if tokenizer is None:
        return {"how": "not known: this watch was given no tokenizer= to read them with", **found}
    if not isinstance(labels, Tensor) or labels.shape != ids.shape:
        labels = None
    rows = [_read_row(inputs, ids, labels, number) for number in range(min(FIRST, len(ids)))]
    unknown = "its labels are not passed to the model, so that what is trained of it is not known"
    cut = "what was truncated or left out before is not known"
    how = f"the first batch of the loop; {unknown if labels is None else cut}"
    return fit_line({"how": how, **found}, "first", lambda most: _show(rows, tokenizer, most))


def _read_row(
    inputs: Inputs, ids: Tensor, labels: Tensor | None, number: int
) -> list[tuple[int, bool | None]]:
    """Return (token, whether it is trained; None: not known) of a row without its padding."""
    mask = inputs.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        mask = torch.ones_like(ids)
    kept = mask[number].tolist()
    trained = [None] * len(kept) if labels is None else (labels[number] != IGNORED).tolist()
    found = list(compress(zip(ids[number].tolist(), trained, strict=True), kept))
    return [(one, learned and place > 0) for place, (one, learned) in enumerate(found)]


def _show(
    rows: Sequence[Sequence[tuple[int, bool | None]]], tokenizer: Any, most: int
) -> list[dict[str, Any]]:
    """Return rows as the page shows them, `most` tokens near the first that is trained."""
    special, found = set(tokenizer.all_special_ids), []
    for number, row in enumerate(rows, 1):
        tokens, trained = [one for one, _ in row], [bool(learned) for _, learned in row]
        start = max(0, (trained.index(True) if any(trained) else 0) - most // 2)
        end = min(len(row), start + most)
        last = [one and not after for one, after in pairwise([*trained, False])]
        ends = {n - start for n in range(start, end) if last[n] and tokens[n] in special}
        texts = _from_first(token_pieces(tokenizer, tokens[start:end], special=True))
        known = {} if any(learned is None for _, learned in row) else {"trained": sum(trained)}
        found.append(
            {
                "place": f"row {number}",
                "tokens": len(row),
                "before": start,
                "after": len(row) - end,
                "parts": parts_of(zip(texts, trained[start:end], strict=True), ends),
                **known,
            }
        )
    return found


def _from_first(pieces: Sequence[str]) -> list[str]:
    """Return texts of tokens; a character of several stands with its first one."""
    found = list(pieces)
    for place in range(len(found) - 1, 0, -1):
        if found[place] and not found[place - 1]:
            found[place - 1 : place + 1] = found[place], ""
    return found


def _describe_recipe(
    model: Any, optimizers: Optimizers, part: MicroBatch | None, compute: torch.dtype | None
) -> dict[str, Any]:
    """Return dtypes, optimizer and batch as observed, under the keys of a job's recipe."""
    trained = [p for p in ShardView(model).parameters() if p.requires_grad]
    dtypes = sorted({_DTYPES.get(p.dtype, str(p.dtype)) for p in trained})
    found: dict[str, Any] = {"params": " and ".join(dtypes)}
    if part is not None:
        found |= {"micro_batch": part.sequences}
        found |= {"seq_len": part.length} if part.length > 1 else {}
    if compute is not None:
        found["compute"] = _DTYPES.get(compute, str(compute))
    if optimizers.alive:
        found["optimizer"] = " and ".join(type(one).__name__ for one in optimizers.alive)
        found["lr"] = max(float(group["lr"]) for group in optimizers.param_groups)
        found["weight_decay"] = max(
            float(g.get("weight_decay", 0)) for g in optimizers.param_groups
        )
    return found


def _name_model(model: Any) -> str:
    """Return where the model came from, or its class."""
    if isinstance(model, SeveralModels):
        return ", ".join(map(_name_model, model.children()))[:1000]
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(name or type(model).__name__)[:1000]


def to_json(value: Any, deep: int = 4) -> Any:
    """Return a configuration as JSON values of bounded size; other objects become text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and deep:
        return {str(k)[:200]: to_json(v, deep - 1) for k, v in list(value.items())[:500]}
    if isinstance(value, list | tuple) and deep:
        return [to_json(one, deep - 1) for one in value[:100]]
    return str(value)[:500]

"""What a watched model can do: the runner's own evaluation between two steps of a foreign loop.

Nothing of it may be felt by the training: random numbers, modes of modules and the casts that
autocast keeps are afterwards as they were, gradients are not touched, and what is compiled is not
compiled again. Whatever precision the loop computes in, the evaluation computes in, at every step.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.data.dataset import GENERAL, TASK, RowSet, load_set
from gpu_runner.data.encode import Encoder, pad_token
from gpu_runner.data.feed import Batch
from gpu_runner.data.sources import Row, read_rows
from gpu_runner.errors import DataError
from gpu_runner.model.loss import loss_sum
from gpu_runner.train.evaluate import Evaluator, Score, continuation
from gpu_runner.train.initial_weights import Anchor, Drift
from gpu_runner.watch.memory.in_parts import gathered_now, let_go
from gpu_runner.watch.memory.metering import is_compiled
from gpu_runner.world import Meeting, is_cut

EVAL_ROWS: Final = 256
"""Rows of a set that are scored, at most."""
LONGEST: Final = 1024
"""Tokens of a row that are scored, unless the model takes fewer."""
INITIAL: Final = "initial.safetensors"
ROOM: Final = 4.0  # free disk by the size of θ₀, below which it is not kept

Autocast = Callable[[], AbstractContextManager[Any]]
Rows = str | Path | Sequence[Mapping[str, Any]] | Any


@contextmanager
def unfelt(model: nn.Module) -> Iterator[None]:
    """Evaluate inside: random numbers, modes, compiled code and parts are then as they were."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    whole = gathered_now(model)
    eager: AbstractContextManager[Any] = nullcontext()
    if is_compiled(model):
        eager = torch.compiler.set_stance("force_eager")
    try:
        with torch.random.fork_rng(list(devices)), torch.no_grad(), eager:
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        let_go(model, whole)


@dataclass(frozen=True, slots=True)
class AutocastSeen:
    """Under which autocast the loop calls its model; entered again for every evaluation."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @staticmethod
    def now(device: str) -> AutocastSeen:
        """That of this moment."""
        enabled = torch.is_autocast_enabled(device)
        return AutocastSeen(device, enabled, torch.get_autocast_dtype(device))

    def __call__(self) -> AbstractContextManager[Any]:
        """The same, which keeps no casts: made without gradients, they would have none later."""
        if not self.enabled:
            return nullcontext()
        return torch.autocast(self.device, self.dtype, cache_enabled=False)

    def again(self) -> AbstractContextManager[Any]:
        """As the loop has it, casts kept and all: for a step that is only foretold."""
        return torch.autocast(self.device, self.dtype, enabled=self.enabled)


def suites(
    task: Rows | None, general: Mapping[str, Rows] | None, tokenizer: Any, longest: int
) -> dict[str, RowSet]:
    """Encoded sets by suite. Raises `DataError` for rows that cannot be read, and where, and for
    rows without a tokenizer.
    """
    named = {} if task is None else {TASK: task}
    named |= {f"{GENERAL}/{name}": rows for name, rows in (general or {}).items()}
    if not named:
        return {}
    if tokenizer is None:
        raise DataError("rows to score need tokens: give tokenizer=, that of the model.")
    encoder = Encoder(tokenizer, longest)
    return {name: load_set(name, _sources(name, rows), encoder) for name, rows in named.items()}


def _sources(name: str, rows: Rows) -> list[tuple[str, Row]]:
    if isinstance(rows, str | Path):
        return read_rows(str(rows))[:EVAL_ROWS]
    if isinstance(rows, Mapping):
        rows = [rows]
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}, row {number} is a {type(row).__name__}: give dicts.")
        found.append((f"{name}, row {number}", dict(row)))
        if number == EVAL_ROWS:
            break
    if not found:
        raise DataError(f"{name} has no rows: give some, or leave it out.")
    return found


def longest_row(model: Any) -> int:
    """Tokens of the longest row that is scored."""
    made_for = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return min(LONGEST, made_for) if isinstance(made_for, int) and made_for > 1 else LONGEST


class Looker:
    """Scores a model on its sets, measures how far it moved, lets it speak.

    `model` is what can be called alone: not the shell that PyTorch puts around it for processes.
    It is not kept alive.
    """

    def __init__(
        self, model: nn.Module, sets: dict[str, RowSet], tokenizer: Any, device: torch.device
    ) -> None:
        self.sets = sets
        self._ref = weakref.ref(model)
        self._tokenizer = tokenizer
        self._device = device
        self._anchor: Anchor | None = None
        self._meeting = Meeting() if is_cut(model) else None
        self.rows_at_once = 8

    @property
    def _model(self) -> Any:
        model = self._ref()
        if model is None:
            raise ReferenceError("the model is gone")
        return model

    def keep_start(self, run: Path) -> str:
        """Keep θ₀ on disk, to measure drift by; why it is not kept, "" where it is."""
        model = self._model
        if not all(parameter.requires_grad for parameter in model.parameters()):
            return "some weights are frozen: drift is not measured"
        if is_cut(model):
            return "its weights are spread over processes: drift is not measured"
        size = sum(parameter.nbytes for parameter in model.parameters())
        free = shutil.disk_usage(run).free
        if free < ROOM * size:
            return f"{run} has no room for a copy of the weights: drift is not measured"
        named = {name: p.detach().contiguous() for name, p in model.named_parameters()}
        checkpoint.write_tensors(named, run / INITIAL)
        self._anchor = Anchor((run / INITIAL,), tuple(named))
        return ""

    def meets(self) -> bool:
        """Whether every process of a model that is spread over them comes to look at it; else true.

        Each of them gathers what the others hold: one that looked alone would wait for ever.
        """
        return self._meeting is None or not self.sets or self._meeting.all_come()

    def look(
        self, autocast: Autocast, prompts: Sequence[str], new_tokens: int
    ) -> tuple[list[Score], Drift | None, list[tuple[str, str]]]:
        """The loss of every set, by the code that scores them for `unfrozen train`; how far the
        weights are from θ₀, None where that was not kept; and what the model writes after prompts.
        """
        scores = self._scores(autocast) if self.sets else []
        drift = None if self._anchor is None else self._anchor.drift(self._model)
        asked = prompts if self._tokenizer is not None and not is_cut(self._model) else ()
        with autocast():
            said = [(one, self._say(one, new_tokens)) for one in asked]
        return scores, drift, said

    def _scores(self, autocast: Autocast) -> list[Score]:
        pad = pad_token(self._tokenizer)
        evaluator = Evaluator(self.sets, self.rows_at_once, pad, self._device, autocast, loss=_loss)
        return evaluator.run(self._model)

    def _say(self, prompt: str, new_tokens: int) -> str:
        return continuation(self._model, self._tokenizer, prompt, new_tokens)

    def forget(self) -> None:
        """Remove the copy of θ₀."""
        for file in () if self._anchor is None else self._anchor.files:
            file.unlink(missing_ok=True)
        self._anchor = None


def _loss(model: Any, batch: Batch) -> tuple[Tensor, int]:
    """As the runner has it where the model is one of transformers; else from its logits."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is not None and not is_cut(model):  # whose head is together in its forward pass only
        return loss_sum(model, batch)
    output = model(batch.input_ids)
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if logits is None:
        logits = output[0]
    following = batch.labels[:, 1:].flatten()
    found = nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), following, reduction="sum"
    )
    return found, batch.trainable_tokens

"""The runner's own evaluation between two steps of a watched loop, without effect on training.

Random numbers, train and eval modes and autocast's cached casts are restored afterwards, gradients
are not touched, and compiled code is not compiled again. Every evaluation computes in the precision
that the loop computes in.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from gpu_runner.atomic import remove_file
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.data.dataset import GENERAL, TASK, EncodedDataset, encode_dataset
from gpu_runner.data.encode import Encoder, pad_token
from gpu_runner.data.feed import IGNORED, Batch
from gpu_runner.data.rows import Row, read_rows
from gpu_runner.errors import DataError
from gpu_runner.memory.fsdp import gathered_parameters, reshard_all_except
from gpu_runner.memory.loop import Autocast
from gpu_runner.model.blocks import run_eagerly
from gpu_runner.model.loss import TokenScores, loss_sum
from gpu_runner.train.evaluate import Evaluator, Score, generate
from gpu_runner.train.initial_weights import Drift, InitialWeights
from gpu_runner.world import Rendezvous, is_cut

MOST_EXAMPLES: Final = 256
"""Examples of a set that are scored, at most."""
LONGEST: Final = 1024
"""Tokens of an example that are scored, unless the model takes fewer."""
INITIAL: Final = "initial.safetensors"
FREE_DISK: Final = 4.0  # times the size of θ₀; with less, θ₀ is not saved

Examples = str | Path | Sequence[Mapping[str, Any]] | Any


@contextmanager
def without_side_effects(model: nn.Module) -> Iterator[None]:
    """Restore modes and sharding after the block; nothing in it is compiled or counted."""
    modes = [(module, module.training) for module in model.modules()]
    gathered = gathered_parameters(model)
    try:
        with torch.no_grad(), run_eagerly(), _disable_current_modes():
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        reshard_all_except(model, gathered)


@dataclass(frozen=True, slots=True)
class LoopAutocast:
    """The autocast under which the loop calls its model; entered again for every evaluation."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @staticmethod
    def read(device: str) -> LoopAutocast:
        """Return the autocast of this moment."""
        enabled = torch.is_autocast_enabled(device)
        return LoopAutocast(device, enabled, torch.get_autocast_dtype(device))

    def __call__(self) -> AbstractContextManager[Any]:
        """Return the same without its cache: casts made without gradients must not be reused."""
        if not self.enabled:
            return nullcontext()
        return torch.autocast(self.device, self.dtype, cache_enabled=False)

    def with_cache(self) -> AbstractContextManager[Any]:
        """Return it as the loop has it, cache included, for a step that is only traced."""
        return torch.autocast(self.device, self.dtype, enabled=self.enabled)


def load_suites(
    task: Examples | None, general: Mapping[str, Examples] | None, tokenizer: Any, longest: int
) -> dict[str, EncodedDataset]:
    """Return the encoded sets by suite.

    Raises `DataError` for examples that cannot be read, and for examples without a tokenizer.
    """
    named = {} if task is None else {TASK: task}
    named |= {f"{GENERAL}/{name}": rows for name, rows in (general or {}).items()}
    if not named:
        return {}
    if tokenizer is None:
        raise DataError("held-out examples need a tokenizer: pass tokenizer=, that of the model.")
    encoder = Encoder(tokenizer, longest)
    return {
        name: encode_dataset(name, _read_sources(name, rows), encoder)
        for name, rows in named.items()
    }


def _read_sources(name: str, rows: Examples) -> list[tuple[str, Row]]:
    if isinstance(rows, str | Path):
        return read_rows(str(rows))[:MOST_EXAMPLES]
    if isinstance(rows, Mapping):
        rows = [rows]
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}, row {number} is a {type(row).__name__}: pass dicts.")
        found.append((f"{name}, row {number}", dict(row)))
        if number == MOST_EXAMPLES:
            break
    if not found:
        raise DataError(f"{name} has no examples: pass some, or leave it out.")
    return found


def longest_example(model: Any) -> int:
    """Return the length in tokens of the longest example that is scored."""
    most = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return min(LONGEST, most) if isinstance(most, int) and most > 1 else LONGEST


class LoopEvaluator:
    """Scores a model on its sets, measures drift, and generates samples.

    `model` is the model without a data-parallel wrapper. It is not kept alive.
    """

    def __init__(
        self,
        model: nn.Module,
        sets: dict[str, EncodedDataset],
        tokenizer: Any,
        device: torch.device,
    ) -> None:
        self.sets = sets
        self._ref = weakref.ref(model)
        self._tokenizer = tokenizer
        self._device = device
        self._initial_weights: InitialWeights | None = None
        self._file = -1
        self._meeting = Rendezvous() if is_cut(model) else None
        self.batch_size = 8

    @property
    def _model(self) -> Any:
        model = self._ref()
        if model is None:
            raise ReferenceError("the model is gone")
        return model

    def save_initial_weights(self, run: Path) -> str:
        """Save θ₀ to measure drift from; return why it was not saved, "" where it was."""
        model = self._model
        if not all(parameter.requires_grad for parameter in model.parameters()):
            return "drift is not measured: some weights are frozen"
        if is_cut(model):
            return "drift is not measured: the weights are sharded"
        size = sum(parameter.nbytes for parameter in model.parameters())
        free = shutil.disk_usage(run).free
        if free < FREE_DISK * size:
            return f"drift is not measured: there is no space for a copy of the weights in {run}"
        named = {name: p.detach().contiguous() for name, p in model.named_parameters()}
        checkpoint.write_tensors(named, run / INITIAL)
        self._file = os.open(run / INITIAL, os.O_RDONLY)
        remove_file(run / INITIAL)  # the space is free when this process ends, however it ends
        self._initial_weights = InitialWeights((Path(f"/dev/fd/{self._file}"),), tuple(named))
        return ""

    def all_processes_join(self) -> bool:
        """Return whether all processes of a sharded model evaluate it; True for other models.

        Each of them gathers the shards of the others: one that evaluated alone would hang.
        """
        return self._meeting is None or not self.sets or self._meeting.wait_for_all()

    def evaluate(
        self, autocast: Autocast, prompts: Sequence[str], new_tokens: int
    ) -> tuple[list[Score], Drift | None, list[tuple[str, str]]]:
        """Return the loss of every set, the drift from θ₀, and samples as (prompt, text) pairs.

        The sets are scored by the code of `unfrozen train`; the drift is None where θ₀ was not
        saved.
        """
        scores = self._score(autocast) if self.sets else []
        drift = None if self._initial_weights is None else self._initial_weights.drift(self._model)
        wanted = prompts if self._tokenizer is not None and not is_cut(self._model) else ()
        with autocast():
            samples = [
                (one, generate(self._model, self._tokenizer, one, new_tokens).text)
                for one in wanted
            ]
        return scores, drift, samples

    def _score(self, autocast: Autocast) -> list[Score]:
        pad = pad_token(self._tokenizer)
        evaluator = Evaluator(self.sets, self.batch_size, pad, self._device, autocast, loss=_loss)
        return evaluator.run(self._model)

    def remove_initial_weights(self) -> None:
        """Remove the copy of θ₀."""
        if self._initial_weights is not None:
            os.close(self._file)
        self._initial_weights = None


def _loss(model: Any, batch: Batch, *, scores: TokenScores) -> tuple[Tensor, int]:
    """Return the summed loss and its tokens as the runner computes them, else from the logits."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is not None and not is_cut(
        model
    ):  # a sharded head is gathered in its own forward pass only
        return loss_sum(model, batch, scores=scores)
    output = model(batch.input_ids)
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if logits is None:
        logits = output[0]
    targets = batch.labels[:, 1:].flatten()
    trained = targets != IGNORED
    found, targets = logits[:, :-1].flatten(0, 1)[trained].float(), targets[trained]
    torch.eq(found.argmax(dim=1), targets, out=scores.hits)
    scores.losses.copy_(nn.functional.cross_entropy(found, targets, reduction="none"))
    return scores.losses.sum(), batch.trainable_tokens

"""What θ₀ holds likeliest in the rows of a run, computed once: the reference of KL(θ₀ ‖ θ).

Forgetting goes with the KL from the model before, on the rows of the task (Shenfeld et al., "RL's
Razor", arXiv 2509.04259); as a term of the loss it is Li and Hoiem's (arXiv 1606.09282). A second
model would take its weights and a forward pass of every step. Here θ₀ reads each example once,
before the first step, and its TOP likeliest tokens and their log-probabilities at each trained one
are kept in the run's directory, from which a step reads those of its rows. Where files are gone, or
a run takes other rows than they have, θ₀ is put into the model once more.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_runner.checkpoint.sharded_directory import REFERENCE
from gpu_runner.data.encode import pad_token
from gpu_runner.data.feed import BatchReference, Feed, collate
from gpu_runner.errors import SystemFailure
from gpu_runner.model.blocks import as_written
from gpu_runner.model.loss import likeliest
from gpu_runner.plan.plan import RunPlan
from gpu_runner.train.evaluate import Progress, no_progress
from gpu_runner.train.initial_weights import InitialWeights
from gpu_runner.world import World
from unfrozen.memory.loss import REFERENCE_TOP
from unfrozen.units import format_bytes

_KEY: Final = "key.json"
_TYPES: Final = {"rows": "<i8", "counts": "<i8", "tokens": "<i4", "log_p": "<f4"}
"""Files of each process: which examples, their trained tokens, and K numbers of each of those."""
Tell = Callable[[str, str], None]


def with_reference(
    planned: RunPlan,
    model: Any,
    initial_weights: InitialWeights,
    directory: Path,
    *,
    untrained: bool,
    tell: Tell,
    progress: Progress = no_progress,
) -> Feed:
    """Return the run's batches, each with its reference where the run has one; compute that first.

    `tell(level, text)` reports what that cost. Raises `SystemFailure` where it cannot be written.
    """
    config = planned.config
    if not config.kl:
        return planned.feed
    world = initial_weights.world
    rows = planned.reference_rows()
    folder = directory / REFERENCE
    key = {
        "data": planned.train.sha256,
        "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
        "top": REFERENCE_TOP,
    }
    if not world.on_first(lambda: _read_key(folder) == key):
        started = time.monotonic()
        with nullcontext() if untrained else initial_weights.swapped_into(model):
            _write(planned, model, rows, folder, world, progress)
        world.on_first(lambda: _finish(folder, key))
        size = sum(file.stat().st_size for file in folder.iterdir())
        tell(
            "info",
            f"KL to θ₀: what it holds likeliest in {len(rows):,} examples took"
            f" {time.monotonic() - started:.1f} s and {format_bytes(size)} on disk.",
        )
    known = StoredReference(folder, config.kl)
    return replace(planned.feed, reference=known.of)


def _read_key(folder: Path) -> Any:
    try:
        return json.loads((folder / _KEY).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _begin(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _finish(folder: Path, key: Any) -> None:
    """Make it whole: without a key it is computed again."""
    (folder / _KEY).write_text(json.dumps(key), "utf-8")


def _write(
    planned: RunPlan,
    model: Any,
    rows: NDArray[np.int64],
    folder: Path,
    world: World,
    progress: Progress,
) -> None:
    """Write what this process computes: every so many batches of rows of like length."""
    world.on_first(lambda: _begin(folder))
    examples = planned.train.examples
    order = np.argsort(np.asarray(examples.lengths)[rows], kind="stable")
    batches = np.array_split(rows[order], -(-len(rows) // planned.config.micro_batch))
    was_training = model.training
    model.eval()
    try:
        with ExitStack() as stack, torch.no_grad(), as_written(model), planned.autocast():
            files = {
                name: stack.enter_context((folder / f"{name}-{world.rank}").open("wb"))
                for name in _TYPES
            }
            for turn in range(0, len(batches), world.size):
                mine = turn + world.rank < len(batches)  # else look on: weights are gathered
                chosen = batches[turn + world.rank if mine else 0]
                batch = collate([examples[index] for index in chosen], pad_token(planned.tokenizer))
                top = world.run(likeliest, model, batch.to(planned.device), REFERENCE_TOP)
                counts = [examples[index].trainable_tokens for index in chosen]
                parts = chosen, np.array(counts), *(part.cpu().numpy() for part in top)
                for name, part in zip(_TYPES, parts, strict=True):
                    files[name].write(part.astype(_TYPES[name]).tobytes() if mine else b"")
                progress(min(1.0, (turn + world.size) / len(batches)))
    except OSError as error:
        raise SystemFailure(f"{folder} cannot be written ({error.strerror}): make room.") from None
    finally:
        model.train(was_training)
    world.everyones(None)  # all have written


class StoredReference:
    """The files of a reference, mapped into memory; λ is `strength` where an example is in them."""

    def __init__(self, folder: Path, strength: float) -> None:
        self._strength = strength
        self._places: dict[int, tuple[int, int, int]] = {}  # example → file, first and next token
        self._files: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for rows_file in sorted(folder.glob("rows-*")):
            end = rows_file.name.removeprefix("rows")
            rows, counts = (
                np.fromfile(folder / f"{name}{end}", _TYPES[name]).tolist()
                for name in ("rows", "counts")
            )
            tokens, log_p = (
                np.memmap(folder / f"{name}{end}", _TYPES[name], "r") if rows else np.zeros(0)
                for name in ("tokens", "log_p")
            )
            stops = list(accumulate(counts))
            wide = len(tokens) // max(1, sum(counts))
            for row, count, stop in zip(rows, counts, stops, strict=True):
                self._places[row] = len(self._files), stop - count, stop
            self._files.append((tokens.reshape(-1, wide or 1), log_p.reshape(-1, wide or 1)))

    def of(self, examples: Sequence[int], counts: Sequence[int]) -> BatchReference:
        """Return that of some examples with so many trained tokens each, in their order."""
        wide = max(tokens.shape[1] for tokens, _ in self._files)
        tokens = torch.zeros((sum(counts), wide), dtype=torch.int64)
        log_p = torch.zeros((sum(counts), wide))
        strength = torch.zeros(sum(counts))
        for example, stop, count in zip(examples, accumulate(counts), counts, strict=True):
            if example not in self._places:
                continue
            file, first, last = self._places[example]
            here = slice(stop - count, stop)
            for target, stored in zip((tokens, log_p), self._files[file], strict=True):
                target[here] = torch.from_numpy(np.array(stored[first:last]))
            strength[here] = self._strength
        return BatchReference(tokens, log_p, strength, torch.zeros(()))

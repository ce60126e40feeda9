"""What θ₀ holds likeliest in the rows of a run, computed once: the reference of KL(θ₀ ‖ θ).

Forgetting goes with the KL from the model before, on the rows of the task (Shenfeld et al., "RL's
Razor", arXiv 2509.04259); as a term of the loss it is Li and Hoiem's (arXiv 1606.09282). A second
model would take its weights and a forward pass of every step. Here θ₀ reads each example once,
before the first step, and its TOP likeliest tokens and their log-probabilities at each trained one
are kept in the run's directory, from which a step reads those of its rows. Where files are gone, or
a run takes other rows than they have, θ₀ is put into the model once more.

Held-out sets have theirs in any case, noted by the evaluation at step 0: every later one measures
the KL of their first examples.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_runner import atomic
from gpu_runner.checkpoint.sharded_directory import REFERENCE, ShardedDirectory
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.encode import pad_token
from gpu_runner.data.feed import BatchReference, Feed, collate
from gpu_runner.errors import CheckpointError, SystemFailure
from gpu_runner.model.blocks import as_written
from gpu_runner.model.loss import LINEAR, TokenScores, loss_sum
from gpu_runner.plan.plan import HELD_OUT_TOKENS, RunPlan
from gpu_runner.train.initial_weights import InitialWeights
from gpu_runner.world import World
from unfrozen.memory.loss import REFERENCE_TOP
from unfrozen.plain import read_json
from unfrozen.units import format_bytes

_KEY: Final = "key.json"
_MOST_KEY_BYTES: Final = 1024 * 1024
_TYPES: Final = {"rows": "<i8", "counts": "<i8", "tokens": "<i4", "log_p": "<f4"}
"""Files of each process: which examples, their trained tokens, and K numbers of each of those."""
Tell = Callable[[str, str], None]
Progress = Callable[[float], None]
Note = Callable[[Sequence[int], Sequence[int], tuple[Tensor, Tensor]], None]
"""Takes examples, their numbers of trained tokens, and the likeliest tokens there with log p."""


def with_reference(
    planned: RunPlan,
    model: Any,
    initial_weights: InitialWeights,
    directory: Path,
    *,
    untrained: bool,
    tell: Tell,
    progress: Progress,
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
    if not world.on_first(lambda: _is_stored(folder, key)):
        started = time.monotonic()
        one = ShardedDirectory(folder, world)
        one.begin()
        with nullcontext() if untrained else initial_weights.swapped_into(model):
            _write(planned, model, rows, one.path, world, progress)
        _finish(one, key)
        size = sum(file.stat().st_size for file in folder.iterdir())
        tell(
            "info",
            f"KL to θ₀: what it holds likeliest in {len(rows):,} examples took"
            f" {time.monotonic() - started:.1f} s and {format_bytes(size)} on disk.",
        )
    known = StoredReference(folder, config.kl)
    return replace(planned.feed, reference=known.of)


def _is_stored(folder: Path, key: Any) -> bool:
    """Return whether a folder is whole and has this key; else another one can take its place.

    Raises `SystemFailure` where it must not be replaced.
    """
    try:
        atomic.check_files(folder)
        if read_json(folder / _KEY, _MOST_KEY_BYTES) == key:
            return True
    except (OSError, ValueError, CheckpointError):
        pass
    atomic.check_replaceable(folder, damaged=True)
    return False


def _finish(one: ShardedDirectory, key: Any) -> None:
    """Make it whole: without a key it is computed again."""
    one.end(lambda place: atomic.write_file(place / _KEY, json.dumps(key)))


def _write(
    planned: RunPlan,
    model: Any,
    rows: NDArray[np.int64],
    folder: Path,
    world: World,
    progress: Progress,
) -> None:
    """Write what this process computes: every so many batches of rows of like length."""
    examples = planned.train.examples
    order = np.argsort(np.asarray(examples.lengths)[rows], kind="stable")
    batches = np.array_split(rows[order], -(-len(rows) // planned.config.micro_batch))
    was_training = model.training
    model.eval()
    try:
        with (
            _writing(folder, world.rank) as note,
            torch.no_grad(),
            as_written(model),
            planned.autocast(),
        ):
            for turn in range(0, len(batches), world.size):
                mine = turn + world.rank < len(batches)  # else look on: weights are gathered
                chosen = batches[turn + world.rank if mine else 0]
                batch = collate([examples[index] for index in chosen], pad_token(planned.tokenizer))
                noted = TokenScores.of(batch.trainable_tokens, planned.device, REFERENCE_TOP)
                world.run(loss_sum, model, batch.to(planned.device), LINEAR, noted)
                counts = [examples[index].trainable_tokens for index in chosen]
                if mine:
                    note(chosen.tolist(), counts, noted.top)
                progress(min(1.0, (turn + world.size) / len(batches)))
    finally:
        model.train(was_training)


@contextmanager
def _writing(folder: Path, rank: int) -> Iterator[Note]:
    """Open the files of a process; what they are given is written. Raises `SystemFailure`."""
    try:
        with ExitStack() as stack:
            files = [stack.enter_context((folder / f"{name}-{rank}").open("xb")) for name in _TYPES]

            def note(
                examples: Sequence[int], counts: Sequence[int], top: tuple[Tensor, Tensor]
            ) -> None:
                parts = np.array(examples), np.array(counts), *(part.cpu().numpy() for part in top)
                for file, dtype, part in zip(files, _TYPES.values(), parts, strict=True):
                    file.write(part.astype(dtype).tobytes())

            yield note
    except OSError as error:
        raise SystemFailure(f"{folder} cannot be written ({error.strerror}): make room.") from None


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


@dataclass(slots=True)
class HeldOutReference:
    """The references of held-out sets, in a folder of the run; `known` once θ₀ has been scored."""

    folder: Path
    world: World
    suites: Mapping[str, EncodedDataset]
    known: dict[str, StoredReference] = field(default_factory=dict)
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _new: ShardedDirectory | None = None
    """The folder that is being written."""

    def __post_init__(self) -> None:
        """Read what the folder has, if it is of these sets."""
        for name, rows in self.suites.items():
            ends = list(accumulate(one.trainable_tokens for one in rows.examples))
            count = max(1, sum(end <= HELD_OUT_TOKENS for end in ends))
            self._sizes[name] = count, ends[count - 1]
        if self.world.on_first(lambda: _is_stored(self.folder, self._key)):
            self._read()

    @property
    def _key(self) -> dict[str, Any]:
        return {"sets": {n: rows.sha256 for n, rows in self.suites.items()}, "top": REFERENCE_TOP}

    def tokens(self, suite: str) -> int:
        """Return how many trained tokens of a set have a reference."""
        return self._sizes[suite][1]

    @contextmanager
    def noting(self, suite: str) -> Iterator[Note]:
        """Note inside what θ₀ holds likeliest in batches of a set, of its first examples alone."""
        if suite == next(iter(self.suites)) or self._new is None:
            self._new = ShardedDirectory(self.folder, self.world)
            self._new.begin()
        place, (most, _) = self._place(suite, self._new.path), self._sizes[suite]
        place.mkdir(exist_ok=True)
        with _writing(place, self.world.rank) as write:

            def note(
                examples: Sequence[int], counts: Sequence[int], top: tuple[Tensor, Tensor]
            ) -> None:
                for example, *parts in zip(
                    examples, *(part.split(list(counts)) for part in top), strict=True
                ):
                    if example < most:
                        write([example], [len(parts[0])], (parts[0], parts[1]))

            yield note

    def finish(self) -> None:
        """Make the folder whole, once all sets are noted."""
        assert self._new is not None
        _finish(self._new, self._key)
        self._read()

    def _read(self) -> None:
        places = {name: self._place(name, self.folder) for name in self.suites}
        self.known = {name: StoredReference(place, 1.0) for name, place in places.items()}

    def _place(self, suite: str, folder: Path) -> Path:
        return folder / str(list(self.suites).index(suite))

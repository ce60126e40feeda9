"""The likeliest tokens of θ₀ in the held-out sets of a run: the reference of KL(θ₀ ‖ θ).

Forgetting goes with the KL from the model before (Shenfeld et al., "RL's Razor", arXiv 2509.04259).
A second model would take its weights and a forward pass of every evaluation. Here the evaluation at
step 0 notes the LIKELIEST tokens and their log-probabilities at each trained token of each set's
first examples in the run's directory, and every later one measures the KL of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_runner import atomic
from gpu_runner.checkpoint.sharded_directory import ShardedDirectory
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.errors import CheckpointError, SystemFailure
from gpu_runner.model.loss import LIKELIEST, LikeliestTokens
from gpu_runner.plan.plan import HELD_OUT_TOKENS
from gpu_runner.world import World
from unfrozen.plain import read_json

_KEY: Final = "key.json"
_MOST_KEY_BYTES: Final = 1024 * 1024
_TYPES: Final = {"rows": "<i8", "counts": "<i8", "tokens": "<i4", "log_p": "<f4"}
"""Files of each process: which examples, their trained tokens, and K numbers of each of those."""
Note = Callable[[Sequence[int], Sequence[int], tuple[Tensor, Tensor]], None]
"""Takes examples, their numbers of trained tokens, and the likeliest tokens there with log p."""


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
    """The files of a reference, mapped into memory."""

    def __init__(self, folder: Path) -> None:
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

    def of(self, examples: Sequence[int], counts: Sequence[int]) -> LikeliestTokens:
        """Return that of some examples with so many trained tokens each, in their order."""
        wide = max(tokens.shape[1] for tokens, _ in self._files)
        tokens = torch.zeros((sum(counts), wide), dtype=torch.int64)
        log_p = torch.zeros((sum(counts), wide))
        known = torch.zeros(sum(counts))
        for example, stop, count in zip(examples, accumulate(counts), counts, strict=True):
            if example not in self._places:
                continue
            file, first, last = self._places[example]
            here = slice(stop - count, stop)
            for target, stored in zip((tokens, log_p), self._files[file], strict=True):
                target[here] = torch.from_numpy(np.array(stored[first:last]))
            known[here] = 1.0
        return LikeliestTokens(tokens, log_p, known)


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
        return {"sets": {n: rows.sha256 for n, rows in self.suites.items()}, "top": LIKELIEST}

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
        self.known = {name: StoredReference(place) for name, place in places.items()}

    def _place(self, suite: str, folder: Path) -> Path:
        return folder / str(list(self.suites).index(suite))

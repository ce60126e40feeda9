"""What a run is made of, in fingerprints: its θ₀, its rows, its choices, what computes it.

Every checkpoint keeps them. A run that goes on takes them again: what has changed in between either
makes nonsense of going on, and is refused, or is reported with its meaning.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from gpu_runner.world.sharded_files import StoredTensors, bytes_of

AT_ONCE: Final = 1 << 26  # bytes that are hashed at a time
_PARTS: Final = 256
_PART_BYTES: Final = 4096
ELSEWHERE: Final = frozenset(
    {
        *(
            "model",
            "data",
            "eval_data",
            "general",
            "mix",
            "replay",
            "fisher_data",
        ),  # fingerprints
        *("runs", "out", "trust_remote_code", "steps", "epochs", "device"),  # are recorded instead
    }
)
_OF_THE_STATE: Final = ("optimizer", "params", "rounding")
"""Choices that say what the tensors of a checkpoint are."""


def sampled(files: Iterable[Path]) -> str:
    """Return the sizes of files and a hash of parts all over them: what tells models apart."""
    digest, sizes = hashlib.sha256(), []
    for file in sorted(files, key=lambda file: file.name):
        size = file.stat().st_size
        sizes.append(size)
        with file.open("rb") as stream:
            for part in range(_PARTS):
                stream.seek(size * part // _PARTS)
                digest.update(stream.read(_PART_BYTES))
    return f"{sum(sizes):,} bytes, sha256 {digest.hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Origins:
    """The fingerprints of everything that a run is made of.

    model     sha256 of θ₀, tensor by tensor
    data      sha256 of the training rows as the model reads them
    suites    the same of every held-out set, by name
    choices   the run's `TrainConfig` as plain data
    computed  what computes it: versions, device, precision of matmuls, processes, threads
    sets      fingerprint and weight of each set that is trained on, by option and file
    """

    model: str
    data: str
    suites: dict[str, str]
    choices: dict[str, Any]
    computed: dict[str, str]
    sets: dict[str, dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return plain data for `state.json`."""
        return asdict(self)


@dataclass(slots=True)
class Changes:
    """The differences from before: `refused` makes nonsense of going on, `notes` are worth knowing.

    `meanings` are what the refused ones mean for a run that goes on all the same; `suites` are the
    held-out sets whose earlier losses are of other rows.
    """

    refused: list[str] = field(default_factory=list)
    meanings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    suites: set[str] = field(default_factory=set)
    kinds: list[str] = field(default_factory=list)
    """Choices that the tensors of the checkpoint do not fit: no run can go on with them."""

    def refuse(self, what: str, meaning: str) -> None:
        """Add one that is refused, and what it means where it is accepted."""
        self.refused.append(what)
        self.meanings.append(meaning)


def fingerprint(files: Iterable[Path]) -> str:
    """Return the SHA-256 of all tensors in some safetensors files: name, type, shape and bytes.

    How they are divided among files or into shards, and in which order, changes nothing. Tensors
    are read side by side, some rows at a time: one core hashes slower than a disk reads. Raises
    `CheckpointError` for a file that cannot be read.
    """
    stored = StoredTensors(files)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        digests = threads.map(lambda name: _digest(name, stored), sorted(stored.names()))
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def _digest(name: str, stored: StoredTensors) -> str:
    shape = stored.shape(name)
    digest = hashlib.sha256(f"{name} {stored.dtype(name)} {shape}\n".encode())
    rows = shape[0] if shape else 1
    each = max(1, AT_ONCE * rows // max(1, stored.nbytes(name)))
    with stored.reading() as reader:
        for start in range(0, rows, each):
            part = reader.rows(name, slice(start, start + each))
            digest.update(bytes_of(part))
    return digest.hexdigest()


def changes(before: Origins, now: Origins) -> Changes:
    """Return what of a run is not as it was at its checkpoint."""
    found = Changes()
    if before.model != now.model:
        found.refuse(
            f"the model it started from (θ₀ was {before.model[:12]}…, is {now.model[:12]}…)",
            "θ₀ is another model than the run began with: drift is measured from it, and L2-SP and"
            " EWC pull towards it",
        )
    if before.data != now.data:
        found.refuse(
            _other_data(before.sets, now.sets),
            "the training rows are other ones: their order is drawn anew, and some may be seen"
            " twice or never",
        )
    found.suites = {
        name
        for name in before.suites.keys() | now.suites.keys()
        if before.suites.get(name) != now.suites.get(name)
    }
    if found.suites:
        named = ", ".join(sorted(found.suites))
        found.refuse(
            f"the held-out rows of {named}",
            f"the held-out rows of {named} are other ones: their change is measured from here"
            " on, not from step 0",
        )
    found.kinds = _different(before.choices, now.choices, _OF_THE_STATE)
    others = sorted((before.choices.keys() & now.choices.keys()) - ELSEWHERE - {*_OF_THE_STATE})
    if changed := _different(before.choices, now.choices, others):
        found.notes.append(f"Choices that hold from here on: {', '.join(changed)}.")
    if changed := _different(before.computed, now.computed, sorted(before.computed)):
        found.notes.append(
            f"Since its checkpoint: {', '.join(changed)}. What is computed may differ in its last"
            " digits from a run that was never interrupted."
        )
    return found


def _other_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what of the training data is not as it was, by name."""
    found = [f"{name}, which is not there any more" for name in before.keys() - now.keys()]
    found += [f"{name}, which is new" for name in now.keys() - before.keys()]
    for name in before.keys() & now.keys():
        if before[name]["sha256"] != now[name]["sha256"]:
            found.append(f"the rows of {name}")
        old, new = before[name]["weight"], now[name]["weight"]
        if old != new:
            found.append(f"the weight of {name} ({old:g} → {new:g})")
    if found:
        return f"the training data: {', '.join(sorted(found))}"
    return "the training data, or the tokenizer that reads them"


def _different(
    before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]
) -> list[str]:
    return [
        f"{name} {before.get(name)} → {now.get(name)}"
        for name in names
        if before.get(name) != now.get(name)
    ]

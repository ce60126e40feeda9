"""θ₀, the pre-trained weights on disk; and how far training has moved from them.

θ₀ costs no memory: it is read tensor by tensor from memory-mapped safetensors files, the model's
own where its names are those of the loaded model (in the hub's cache too), else some written into
the run's directory (GGUF, stacked experts). Where each process holds a part, each writes and reads
that.

A run on a model of the hub notes the revision in its directory, so that it finds the same θ₀ after
a newer one has been downloaded. Whether files still hold what they held is checked whenever they
are read, by size and time, and tensor by tensor when a run is resumed (`origins.fingerprint`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.atomic import check_files, write_file
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint.sharded_directory import INITIAL, publish_sharded
from gpu_runner.checkpoint.training_state import shards_of
from gpu_runner.errors import CheckpointError
from gpu_runner.model.load import WEIGHTS as MODEL_FILES
from gpu_runner.model.load import Source
from gpu_runner.text import typed
from gpu_runner.world import World, local, rows_of, trained_weights
from gpu_runner.world.sharded_files import WEIGHTS, StoredTensors
from unfrozen.parameter_groups import layer_of
from unfrozen.plain import read_json

REVISION: Final = f"{INITIAL}.json"  # of a run: which revision of a hub model is its θ₀
_MOST_REVISION_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Drift:
    """‖θ−θ₀‖/‖θ₀‖ by layer and over all weights, in fp32."""

    layers: dict[str, float]
    total: float


@dataclass(frozen=True)
class InitialWeights:
    """θ₀ on disk: the files that hold the initial value of each trained parameter."""

    files: tuple[Path, ...]
    names: tuple[str, ...]
    world: World = field(default_factory=World)

    @staticmethod
    def of(directory: Path, model: Any) -> InitialWeights:
        """The weights in a directory, whole or in shards. `CheckpointError` if some miss."""
        names = trained_weights(model)
        files = (*directory.glob("*.safetensors"), *(directory / WEIGHTS).glob("*.safetensors"))
        stored = StoredTensors(files)
        if missing := [name for name in names if name not in stored]:
            raise CheckpointError(f"{directory} has no {', '.join(missing[:5])}.")
        return InitialWeights(stored.files(names), tuple(names))

    @torch.no_grad()
    def restore_into(self, model: Any) -> None:
        """Copy these weights back into `model`."""
        for _, now, start in self.pairs(model):
            now.copy_(start)

    def swapped_into(self, model: Any) -> AbstractContextManager[None]:
        """Hold these weights in `model` inside; then its own again: see `swapped`."""
        return swapped((now, start) for _, now, start in self.pairs(model))

    def pairs(self, model: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(name, the parameter, its initial value in fp32), of what this process holds.

        One initial value at a time is in memory; the parameter is the live one, detached. Raises
        `CheckpointError` where the files are not there any more or have changed.
        """
        self._check_files()
        parameters = dict(model.named_parameters())
        with self._stored.reading() as reader:
            for name in self.names:
                now = local(parameters[name].detach())
                start = reader.rows(name, rows_of(parameters[name]))
                yield name, now, start.to(now.device).float()

    @cached_property
    def _stored(self) -> StoredTensors:
        return StoredTensors(self.files)

    @cached_property
    def _stamps(self) -> dict[Path, tuple[int, int] | None]:
        return {file: _stamp(file) for file in self.files}

    def _check_files(self) -> None:
        for file, stamp in self._stamps.items():
            now = _stamp(file)
            if now is None or now != stamp:
                raise CheckpointError(
                    f"{file} holds the pre-trained weights, from which drift is measured, and"
                    f" {'is gone' if now is None else 'has changed'}: put the model back as it was"
                    " (from the hub: hf download), then resume the run."
                )

    def drift(self, model: Any) -> Drift:
        """Distance of `model` from θ₀ (drift of a layer without weights or of norm 0 is 0)."""
        sums: dict[str, Tensor] = {}  # Σ (θ−θ₀)² and Σ θ₀² by layer, read from the device once
        with torch.no_grad():
            for name, now, start in self.pairs(model):
                pair = torch.stack(((now.float() - start).square().sum(), start.square().sum()))
                layer = layer_of(name)
                sums[layer] = sums[layer] + pair.double() if layer in sums else pair.double()
        totals = self.world.sum(torch.stack(list(sums.values())).cpu()).tolist()
        layers = {name: _ratio(*pair) for name, pair in zip(sums, totals, strict=True)}
        return Drift(layers, _ratio(sum(m for m, _ in totals), sum(i for _, i in totals)))


def find_initial_weights(
    source: Source,
    model: Any,
    run_dir: Path,
    *,
    untrained: bool,
    as_published: bool = True,
    world: World | None = None,
) -> InitialWeights:
    """Find θ₀ on disk; if `model` is still `untrained`, write it to the run's directory.

    All processes of `world` call it alike; a model that is cut is written to `initial/`, by each
    what it holds, a whole one to `initial.safetensors` by the first. A model that has grown is not
    `as_published`: its source has other shapes. Raises `CheckpointError` when a resumed run finds
    θ₀ neither at its source nor in its directory, `SystemFailure` where it cannot be written.
    """
    world = world or World()
    named = trained_weights(model)
    found = world.on_first(
        lambda: initial_files(source, [*named], run_dir, as_published=as_published)
    )
    (missed,) = world.any(not all(file.exists() for file in found))  # on another machine
    if found and not missed:
        return InitialWeights(found, tuple(named), world)
    if not untrained:
        raise CheckpointError(
            f"the pre-trained weights are neither at {source.place} nor in {run_dir}: drift cannot"
            " be measured. Put the model back where the run found it"
            f"{_download(source, run_dir)}."
        )
    if any(local(parameter) is not parameter for parameter in named.values()):
        folder = run_dir / INITIAL
        publish_sharded(folder, world, {WEIGHTS: shards_of(named, world)})
        return InitialWeights(tuple((folder / WEIGHTS).iterdir()), tuple(named), world)
    written = run_dir / f"{INITIAL}.safetensors"
    whole = {name: parameter.detach().contiguous() for name, parameter in named.items()}
    world.on_first(lambda: checkpoint.write_tensors(whole, written))
    return InitialWeights((written,), tuple(named), world)


def initial_files(
    source: Source, names: Sequence[str], run_dir: Path, *, as_published: bool
) -> tuple[Path, ...]:
    """Return the files that hold θ₀ already; none where there are none.

    Raises `CheckpointError` where shards are missing or cut off.
    """
    written = run_dir / f"{INITIAL}.safetensors"
    shards = tuple((run_dir / INITIAL / WEIGHTS).glob("*.safetensors"))
    if shards:
        check_files(run_dir / INITIAL)
    if shards or written.exists():
        return shards or (written,)
    folder = published_folder(source, run_dir)
    if folder is None or not as_published:
        return ()
    stored = StoredTensors(folder.glob("*.safetensors"))
    if not all(name in stored for name in names):
        return ()
    if source.kind == "hub":
        write_file(run_dir / REVISION, json.dumps({"revision": folder.name}) + "\n")
    return stored.files(names)


def published_folder(source: Source, run_dir: Path | None = None) -> Path | None:
    """Return the directory of the model as it was published; None where its files are not here.

    Of the hub, it is the revision that the run in `run_dir` noted, else the newest one.
    """
    if source.kind in ("demo", "directory"):
        return Path(source.place)
    if source.kind != "hub":
        return None
    from transformers.utils.hub import (  # type: ignore[attr-defined]  # of the hub's own client
        try_to_load_from_cache,
    )

    revision = _revision(run_dir) if run_dir else None
    for name in MODEL_FILES:
        found = try_to_load_from_cache(source.place, name, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _revision(run_dir: Path) -> str | None:
    """The revision that a run has noted, None if none. Raises `CheckpointError` for no revision."""
    try:
        found = read_json(run_dir / REVISION, _MOST_REVISION_BYTES)["revision"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{run_dir / REVISION} cannot be read ({error}).") from None
    if not isinstance(found, str) or not found.isalnum():
        raise CheckpointError(f"{run_dir / REVISION} names no revision of a model.")
    return found


def _download(source: Source, run_dir: Path) -> str:
    revision = _revision(run_dir) if source.kind == "hub" else None
    return f": hf download {typed(source.place)} --revision {revision}" if revision else ""


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _ratio(moved: float, initial: float) -> float:
    return float((moved / initial) ** 0.5) if initial > 0 else 0.0


@contextmanager
def swapped(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Hold the second of each pair in the first inside; then its own value again, bit for bit.

    Those of this process are copied to host memory meanwhile.
    """
    own: list[tuple[Tensor, Tensor]] = []
    try:
        with torch.no_grad():
            for now, other in pairs:
                own.append((now, now.to("cpu", copy=True)))
                now.copy_(other)
        yield
    finally:
        with torch.no_grad():
            for now, before in own:
                now.copy_(before)

"""θ₀, the pre-trained weights, kept on disk; and how far training has moved from them.

θ₀ costs no memory: it is read tensor by tensor from a memory-mapped safetensors file, the model's
own where its names are those of the loaded model, else one written into the run's directory (GGUF).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.errors import CheckpointError
from gpu_runner.model.load import Source
from gpu_runner.world import World, local, rows_of
from unfrozen.training.layers import layer_of


@dataclass(frozen=True, slots=True)
class Drift:
    """‖θ−θ₀‖/‖θ₀‖ by layer and over all weights, in fp32."""

    layers: dict[str, float]
    total: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where each parameter's initial value lies: name → safetensors file."""

    files: dict[str, Path]
    world: World = field(default_factory=World)

    @staticmethod
    def of(directory: Path, model: Any) -> Anchor:
        """The weights in a directory's safetensors files. `CheckpointError` if some miss."""
        files = _names_in(directory)
        missing = [name for name, _ in model.named_parameters() if name not in files]
        if missing:
            raise CheckpointError(f"{directory} has no {', '.join(missing[:5])}.")
        return Anchor({name: files[name] for name, _ in model.named_parameters()})

    @torch.no_grad()
    def take_back(self, model: Any) -> None:
        """Make these the weights of `model` again."""
        for _, now, start in self.pairs(model):
            now.copy_(start)

    def pairs(self, model: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(name, the parameter, its initial value in fp32), of what this process holds.

        One initial value at a time is in memory; the parameter is the live one, detached.
        """
        parameters = dict(model.named_parameters())
        for file in sorted(set(self.files.values())):
            with safe_open(file, framework="pt") as tensors:
                for name in (n for n, place in self.files.items() if place == file):
                    now = local(parameters[name].detach())
                    start = tensors.get_tensor(name)[rows_of(parameters[name])]
                    yield name, now, start.to(now.device).float()

    def drift(self, model: Any) -> Drift:
        """Distance of `model` from θ₀ (drift of a layer without weights or of norm 0 is 0)."""
        moved: dict[str, float] = defaultdict(float)  # Σ (θ−θ₀)² by layer
        initial: dict[str, float] = defaultdict(float)  # Σ θ₀²
        with torch.no_grad():
            for name, now, start in self.pairs(model):
                moved[layer_of(name)] += float((now.float() - start).square().sum())
                initial[layer_of(name)] += float(start.square().sum())
        sums = [(moved[name], initial[name]) for name in initial]
        added = self.world.sum(torch.tensor(sums, dtype=torch.float64)).tolist()
        layers = {name: _ratio(*pair) for name, pair in zip(initial, added, strict=True)}
        return Drift(layers, _ratio(sum(m for m, _ in added), sum(i for _, i in added)))


def anchor(
    source: Source, model: Any, run_dir: Path, *, untrained: bool, as_published: bool = True
) -> Anchor:
    """Find θ₀ on disk; if `model` is still `untrained`, write it to `run_dir/initial.safetensors`.

    A model that has grown is not `as_published`: its source has other shapes.

    Raises `CheckpointError` when a resumed run finds θ₀ neither at its source nor in its directory,
    `SystemFailure` where it cannot be written.
    """
    names = [name for name, _ in model.named_parameters()]  # tied ones once
    written = run_dir / "initial.safetensors"
    if as_published and source.kind in ("demo", "directory") and not written.exists():
        files = _names_in(Path(source.place))
        if all(name in files for name in names):
            return Anchor({name: files[name] for name in names})
    if not written.exists() and not untrained:
        raise CheckpointError(
            f"the initial weights are neither at {source.place} nor at {written}: drift cannot be"
            " measured. Put the model back where the run found it."
        )
    if not written.exists():
        parameters = {name: p.detach().contiguous() for name, p in model.named_parameters()}
        checkpoint.write_tensors(parameters, written)
    return Anchor(dict.fromkeys(names, written))


def _names_in(directory: Path) -> dict[str, Path]:
    """Every tensor name in the directory's safetensors files, with its file."""
    found: dict[str, Path] = {}
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            found.update(dict.fromkeys(tensors.keys(), file))
    return found


def _ratio(moved: float, initial: float) -> float:
    return float((moved / initial) ** 0.5) if initial > 0 else 0.0

"""Checkpoints that are whole or absent, and from which a run continues bit by bit on a CPU.

    step-000120.tmp/  model files, optimizer.safetensors, state.json: written, each flushed to disk
                      manifest.json (name, bytes, sha256 of each) last, flushed
    step-000120/      the same directory renamed: it exists only complete; the parent is flushed

Only safetensors and JSON: nothing in a checkpoint can run code when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gpu_runner.errors import CheckpointError, SystemFailure

MANIFEST: Final = "manifest.json"
OPTIMIZER: Final = "optimizer.safetensors"
STATE: Final = "state.json"
_ADAM_STATE: Final = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Saved:
    """A directory that is complete on disk; `sha256` is that of its manifest."""

    path: Path
    size_bytes: int
    sha256: str


def publish(final: Path, fill: Callable[[Path], None]) -> Saved:
    """Let `fill` write files into a temporary directory, then make it appear as `final` at once.

    An older directory of that name is replaced. Raises `SystemFailure` (disk full, no permission);
    nothing half-written stays and earlier checkpoints are untouched.
    """
    temporary = final.with_name(final.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(mode=0o700, parents=True)
        fill(temporary)
        size, digest = _seal(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        _flush(final.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not isinstance(error, (OSError, SafetensorError)):
            raise
        free = shutil.disk_usage(final.parent if final.parent.exists() else Path.cwd()).free
        raise SystemFailure(
            f"{final} could not be written ({error}); {free / 2**20:,.0f} MiB are free there."
            " Make room, or choose another --runs or --out. Earlier checkpoints are intact."
        ) from error
    return Saved(final, size, digest)


def _seal(directory: Path) -> tuple[int, str]:
    """Flush every file, write and flush the manifest; (total bytes, sha256 of the manifest)."""
    files: dict[str, dict[str, int | str]] = {}
    total = 0
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        _flush(path)
        name = path.relative_to(directory).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        total += path.stat().st_size
    text = json.dumps({"files": files}, indent=1)
    manifest = directory / MANIFEST
    manifest.write_text(text, "utf-8")
    _flush(manifest)
    _flush(directory)
    return total, hashlib.sha256(text.encode()).hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def step_dir(root: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return root / f"step-{step:06d}"


def verify(path: Path) -> None:
    """Compare every file with the manifest; raises `CheckpointError` naming the first bad file."""
    try:
        files = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: no readable {MANIFEST} ({error}).") from None
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path}: {name} is missing.")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{file} has {size:,} bytes, not {expected['bytes']:,}.")
        if _sha256(file) != expected["sha256"]:
            raise CheckpointError(f"{file} is not the file that was saved (its sha256 differs).")


def newest(root: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that passes `verify`, and why newer ones were passed over."""
    refused: list[str] = []
    for path in sorted(root.glob("step-*"), reverse=True):
        if path.suffix == ".tmp":
            continue
        try:
            verify(path)
        except CheckpointError as error:
            refused.append(str(error))
        else:
            return path, refused
    return None, refused


def keep_only(root: Path, kept: Path | None) -> None:
    """Remove every other checkpoint, and what an interrupted save left behind."""
    for path in root.glob("step-*"):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)


def write_training_state(
    directory: Path, model: Any, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """`optimizer.safetensors` (moments and step counts by parameter, RNG) and `state.json`."""
    tensors = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = value.contiguous()
    save_file(tensors, directory / OPTIMIZER)
    (directory / STATE).write_text(json.dumps(state, indent=1), "utf-8")


def read_state(path: Path) -> dict[str, Any]:
    """The `state.json` of a verified checkpoint."""
    state = json.loads((path / STATE).read_text("utf-8"))
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / STATE} is not a JSON object.")
    return state


def restore(path: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Put moments, step counts and RNG back; raises `CheckpointError` for incomplete ones."""
    with safe_open(path / OPTIMIZER, framework="pt") as tensors:
        names = set(tensors.keys())
        for name, parameter in model.named_parameters():
            present = [key for key in _ADAM_STATE if f"{key}.{name}" in names]
            if present and len(present) < len(_ADAM_STATE):
                raise CheckpointError(f"{path / OPTIMIZER} has only {present} of {name}.")
            if present:
                optimizer.state[parameter] = {
                    key: tensors.get_tensor(f"{key}.{name}").to(parameter.device) for key in present
                }
        torch.set_rng_state(tensors.get_tensor("rng.cpu"))
        if "rng.cuda" in names and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors.get_tensor("rng.cuda"))

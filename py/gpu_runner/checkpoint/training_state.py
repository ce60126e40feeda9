"""What a checkpoint holds beside the model, and how a run continues from it bit by bit on a CPU.

    optimizer.safetensors   every tensor of the optimizer by parameter, and the random numbers
    state.json              version, step, tokens, history, what the run is made of

Only safetensors and JSON: nothing in a checkpoint can run code when it is read. Tensors are whole
whatever the number of processes that wrote them, so any number of them can continue.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpu_runner.checkpoint.directory import step_of
from gpu_runner.checkpoint.origins import Origins
from gpu_runner.errors import CheckpointError
from gpu_runner.optim.optimizer import Optimizer
from gpu_runner.plain import read_whole
from gpu_runner.world import World, placed_like, whole
from unfrozen.frontier import check
from unfrozen.frontier.files import STATE as STATE_SHAPE
from unfrozen.frontier.shapes import Shape, listed, text

OPTIMIZER: Final = "optimizer.safetensors"
STATE: Final = "state.json"
VERSION: Final = 1
"""Of `state.json`: more of it is no other version, another meaning of what is there is one."""
MOST_STATE_BYTES: Final = 64 * 1024 * 1024
_HELD: Final = "held"  # which keys each parameter had, and what of it is no tensor
_HISTORY: Final = STATE_SHAPE["fields"]["history"]
_SAMPLES: Final = listed(listed(text(MOST_STATE_BYTES), 3), 1000)  # a prompt may be a whole row
_SHAPE: Final[Shape] = {
    **STATE_SHAPE,
    "fields": {
        **STATE_SHAPE["fields"],
        "history": {**_HISTORY, "fields": {**_HISTORY["fields"], "samples": _SAMPLES}},
    },
}


def weights(model: Any, world: World) -> dict[str, Tensor] | None:
    """Every weight whole, by name, on the first process; None where the model is whole anyway.

    Gathered one after the other, so that a card holds one of them more than its share.
    """
    if world.size == 1:
        return None
    kept = model.state_dict().keys()
    named = [*model.named_parameters(), *model.named_buffers()]  # tied ones once
    found = {}
    for name, tensor in named:
        full = whole(tensor.detach())
        if world.first and name in kept:
            found[name] = full.to("cpu", copy=True)
    return found


def collect(
    model: Any, optimizer: Optimizer, world: World
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of `optimizer.safetensors`, whole, on the first process.

    Every process takes part. The tensors are named `key.parameter`; the metadata say which keys
    each parameter had and what was a plain number, so that a tensor that is not there is missed.
    """
    tensors = world.random_states()
    keys: dict[str, list[str]] = {}
    numbers: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        held = optimizer.state.get(parameter, {})
        for key, value in held.items():
            if isinstance(value, Tensor):
                full = whole(value)
                if world.first:
                    tensors[f"{key}.{name}"] = full.to("cpu", copy=world.size > 1).contiguous()
            else:
                numbers[f"{key}.{name}"] = value
        keys[name] = sorted(held)
    return tensors, {_HELD: json.dumps({"keys": keys, "numbers": numbers})}  # one: order is fixed


def write(
    directory: Path, tensors: dict[str, Tensor], metadata: dict[str, str], state: dict[str, Any]
) -> None:
    """Both files, from what `collect` gave."""
    save_file(tensors, directory / OPTIMIZER, metadata)
    text = json.dumps({"version": VERSION, **state}, indent=1)
    (directory / STATE).write_text(text, "utf-8")


def _spelled(value: Any) -> Any:
    """`value` with numbers that are not finite as the words that JSON has for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {name: _spelled(item) for name, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value


def read_state(path: Path) -> dict[str, Any]:
    """The `state.json` of a verified checkpoint.

    Raises `CheckpointError` if it is of a version that is not known yet, or of another step: a
    directory that was renamed or copied over another one would put a run where it never was.
    """
    try:
        state = json.loads(read_whole(path / STATE, MOST_STATE_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path / STATE} cannot be read ({error}).") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / STATE} is not a JSON object.")
    version = state.get("version", 1)  # the first ones had no number
    if not isinstance(version, int) or version > VERSION:
        raise CheckpointError(
            f"{path / STATE} is of version {str(version)[:20]}, and this unfrozen reads up to"
            f" {VERSION}: update it, or go on with the one that wrote it."
        )
    stood = state.get("state")
    step = stood.get("step") if isinstance(stood, dict) else None
    if step_of(path) not in (None, step):
        raise CheckpointError(f"{path / STATE} is of step {step}, not of the step in its path.")
    return state


def parts(
    path: Path, kept: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], Origins | None]:
    """Fields of the run's `State` and of its `History`, as `kept` in the checkpoint at `path`.

    And its origins, None where it is too old to tell. Raises `CheckpointError` for what is not of
    its type; fields that nobody knows are left out.
    """
    try:
        verdict = check(_SHAPE, _spelled(kept))
    except RecursionError:
        raise CheckpointError(f"{path / STATE} is nested too deep.") from None
    if verdict.problem:
        raise CheckpointError(f"{path / STATE}: {verdict.problem}.")
    state, history = (
        {name: kept[part][name] for name in verdict.value[part]} for part in ("state", "history")
    )
    origins = verdict.value.get("origins")
    return state, history, None if origins is None else Origins(**origins)


def restore(path: Path, model: Any, optimizer: Optimizer, world: World) -> None:
    """Put the optimizer's state and the random numbers back, each process its own part.

    Raises `CheckpointError` for a tensor that is missing, of another shape, or cannot be read.
    """
    file = path / OPTIMIZER
    try:
        with safe_open(file, framework="pt") as tensors:
            names = set(tensors.keys())
            held = json.loads((tensors.metadata() or {})[_HELD])
            keys, numbers = held["keys"], held["numbers"]
            for name, parameter in model.named_parameters():
                state = {}
                for key in keys.get(name, ()):
                    full = f"{key}.{name}"
                    if full not in names | numbers.keys():
                        raise CheckpointError(f"{file} has no {key} of {name}.")
                    stored = numbers.get(full) if full in numbers else tensors.get_tensor(full)
                    state[key] = _placed(stored, parameter, f"{file}: {full}")
                if state:
                    optimizer.state[parameter] = state
            world.restore_random_states(
                {name: tensors.get_tensor(name) for name in names if name.startswith("rng.")}
            )
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}).") from None


def _placed(stored: Any, parameter: Tensor, where: str) -> Any:
    """A stored value where `parameter` lives: its own shard if it has the parameter's shape.

    Always a copy: a view would keep the file open, and on the disk when it is removed.
    """
    if not isinstance(stored, Tensor):
        return stored
    if stored.shape == parameter.shape:
        placed = placed_like(parameter, stored)
        return placed.clone() if placed is stored else placed
    if stored.ndim == parameter.ndim >= 2:
        raise CheckpointError(
            f"{where} is {tuple(stored.shape)}, the parameter {tuple(parameter.shape)}."
        )
    return stored.to(parameter.device, copy=True)

"""What a checkpoint holds beside the model, and how a run continues from it bit by bit on a CPU.

    optimizer.safetensors   every tensor of the optimizer by parameter, and the random numbers
    state.json              version, step, tokens, history, what the run is made of

Only safetensors and JSON: nothing in a checkpoint can run code when it is read. Several processes
write shards in file of whole files, `weights/` and `optimizer/` (see `shards`); whatever their
number, any number of processes can continue from either.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.atomic import Written, write_file
from gpu_runner.checkpoint.directory import step_of
from gpu_runner.checkpoint.origins import Origins
from gpu_runner.checkpoint.sharded_directory import OPTIMIZER as OPTIMIZERS
from gpu_runner.data.dataset import TASK
from gpu_runner.errors import CheckpointError
from gpu_runner.optim.optimizer import EMA, Optimizer
from gpu_runner.world import World, as_sharded, full_tensor, is_replica, local, rows_of
from gpu_runner.world.sharded_files import (
    WEIGHTS,
    RowReader,
    Shard,
    StoredTensors,
    write_whole,
)
from unfrozen.held_out import ExactMatch
from unfrozen.plain import read_json
from unfrozen.schema import check
from unfrozen.schema.files import STATE as STATE_SHAPE
from unfrozen.schema.shapes import Shape, array, string


@dataclass(slots=True)
class History:
    """The record that a run keeps of itself beside its `State`; saved in checkpoints.

    Only its methods change it.
    """

    first: dict[str, float] = field(default_factory=dict)
    """Loss of each suite at step 0."""
    latest: dict[str, float] = field(default_factory=dict)
    """Loss of each suite at the newest evaluation."""
    latest_step: int = 0
    """Its step."""
    first_exact: dict[str, list[int]] = field(default_factory=dict)
    """`ExactMatch` of each suite that has one, at step 0."""
    latest_exact: dict[str, list[int]] = field(default_factory=dict)
    first_rows: dict[str, list[float]] = field(default_factory=dict)
    """Loss of each example of each suite at step 0, where a log has room for them."""
    measured: dict[str, dict[str, int]] = field(default_factory=dict)
    """Largest measured bytes by instant and component."""
    peak_bytes: int = 0
    drift: float = 0.0
    samples: list[list[str]] = field(default_factory=list)
    """[prompt, text before, text after] of each prompt."""
    seconds: float = 0.0
    """Wall time of all attempts before this one."""
    best_step: int = 0
    """The step of the lowest task loss."""
    best_loss: float | None = None
    """That loss; None before the first evaluation, or if there was never a finite one."""
    looks_since_best: int = 0
    """Evaluations after it."""
    load: list[list[float]] = field(default_factory=list)
    """Shares of the tokens that each expert of each layer got at the first evaluation."""

    def add_evaluation(
        self,
        step: int,
        losses: dict[str, float],
        drift: float | None,
        *,
        exact: Mapping[str, ExactMatch] | None = None,
        counts: bool = True,
    ) -> bool:
        """Add an evaluation; return whether no earlier one had a task loss as low.

        Early stopping ignores one that does not count, unless it is the best.
        """
        self.latest, self.latest_step = losses, step
        self.latest_exact = {suite: list(found) for suite, found in (exact or {}).items()}
        begun = {} if step == 0 else self.first  # what was scored before exact match is left out
        new = {suite: found for suite, found in self.latest_exact.items() if suite not in begun}
        self.first_exact = new | ({} if step == 0 else self.first_exact)
        self.drift = self.drift if drift is None else drift
        if step == 0:
            self.first = dict(losses)
        else:
            self.first = losses | self.first  # a set that was exchanged begins here
        loss = losses.get(TASK, math.nan)
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_step, self.best_loss, self.looks_since_best = step, loss, 0
            return True
        self.looks_since_best += counts
        return False

    def add_sample(self, index: int, prompt: str, text: str, when: str) -> None:
        """Add the model's answer to prompt `index`, "before" or "after" training."""
        if when == "before":
            self.samples.append([prompt, text, ""])
        else:
            self.samples[index][2] = text

    def add_memory(
        self, peak_bytes: int, instants: Mapping[str, Mapping[str, int]]
    ) -> dict[str, dict[str, int]]:
        """Add the memory of a step; return the instants with more than in any earlier step."""
        self.peak_bytes = max(self.peak_bytes, peak_bytes)
        larger = {
            instant: dict(components)
            for instant, components in instants.items()
            if sum(components.values()) > sum(self.measured.get(instant, {}).values())
        }
        self.measured |= larger
        return larger

    def first_load(self, load: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return the router loads of the first evaluation, which this one is if no other fits."""
        if list(map(len, self.load)) != list(map(len, load)):
            self.load = [list(layer) for layer in load]
        return self.load

    def first_losses(self, suite: str, rows: Sequence[float]) -> list[float]:
        """Return the example losses of the first evaluation, which this is if no other fits."""
        if len(self.first_rows.get(suite, ())) != len(rows):
            self.first_rows[suite] = list(rows)
        return self.first_rows[suite]

    def set_seconds(self, seconds: float) -> None:
        """Set the wall time of all attempts."""
        self.seconds = seconds

    def restore_evaluation(self, saved: Mapping[str, Any]) -> None:
        """Take losses and drift from the history of the checkpoint whose weights are restored."""
        self.latest, self.drift = saved.get("latest", {}), saved.get("drift", 0.0)
        self.latest_exact = saved.get("latest_exact", {})
        self.latest_step = saved.get("latest_step", 0)

    def reset_patience(self) -> None:
        """Let early stopping count from here."""
        self.looks_since_best = 0

    def forget(self, suites: set[str]) -> None:
        """Forget what these suites scored: they have other examples now."""
        for suite in suites:
            scored = (self.first, self.latest, self.first_exact, self.latest_exact, self.first_rows)
            for found in scored:
                found.pop(suite, None)
            self.load = []
        if TASK in suites:
            self.best_step, self.best_loss, self.looks_since_best = 0, None, 0

    def as_json(self) -> dict[str, Any]:
        """Plain data for `state.json`."""
        return asdict(self)


OPTIMIZER: Final = "optimizer.safetensors"
STATE: Final = "state.json"
VERSION: Final = 1
"""The version of `state.json`, which a new field leaves as it is and a new meaning raises."""
MOST_STATE_BYTES: Final = 64 * 1024 * 1024
_HELD: Final = "held"  # which keys each parameter had, and what of it is no tensor
_HISTORY: Final = STATE_SHAPE["properties"]["history"]
_SAMPLES: Final = array(array(string(MOST_STATE_BYTES), 3), 1000)  # a prompt may be a whole row
_SHAPE: Final[Shape] = {
    **STATE_SHAPE,
    "properties": {
        **STATE_SHAPE["properties"],
        "history": {**_HISTORY, "properties": {**_HISTORY["properties"], "samples": _SAMPLES}},
    },
}


def collect(
    model: Any, optimizer: Optimizer, world: World, *, copies: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of `optimizer.safetensors`, whole, on the first process.

    Every process takes part. The tensors are named `key.parameter`; the metadata say which keys
    each parameter had and what was a plain number, so that a tensor that is not there is missed.
    Those of a single process are the optimizer's own, unless it wants `copies`, on the host.
    """
    tensors = world.random_states()
    state_keys = _state_keys(model, optimizer)
    for name, parameter in model.named_parameters():
        for key in state_keys.keys[name]:
            if isinstance(value := optimizer.state[parameter][key], Tensor):
                full = full_tensor(value)
                if world.first:
                    held = full.to("cpu", copy=True) if copies or world.size > 1 else full
                    tensors[f"{key}.{name}"] = held
    return tensors, state_keys.metadata()


@dataclass(frozen=True, slots=True)
class _StateKeys:
    """Which keys the optimizer has for each parameter, and what of it is no tensor."""

    keys: dict[str, list[str]]
    numbers: dict[str, Any]

    def metadata(self) -> dict[str, str]:
        """For a file's header; one string, so that its order is fixed."""
        return {_HELD: json.dumps({"keys": self.keys, "numbers": self.numbers})}


def _state_keys(model: Any, optimizer: Optimizer) -> _StateKeys:
    states = {name: optimizer.state.get(p, {}) for name, p in model.named_parameters()}
    numbers = {
        f"{key}.{name}": value
        for name, state in states.items()
        for key, value in state.items()
        if not isinstance(value, Tensor)
    }
    return _StateKeys({name: sorted(state) for name, state in states.items()}, numbers)


def parts(
    model: Any, optimizer: Optimizer, world: World, *, copies: bool = False
) -> tuple[dict[str, dict[str, Shard]], dict[str, str]]:
    """Return what this process writes of weights and optimizer, and the metadata of its files.

    Nothing is sent. With `copies` it is copied to the host, and may be written later.
    """
    saved = model.state_dict().keys()
    named = (*model.named_parameters(), *model.named_buffers())  # tied ones once
    weights = {name: tensor for name, tensor in named if name in saved}
    state_keys = _state_keys(model, optimizer)
    moments = {
        f"{key}.{name}": value
        for name, parameter in model.named_parameters()
        for key in state_keys.keys[name]
        if isinstance(value := optimizer.state[parameter][key], Tensor)
    }
    random = {name: Shard(state) for name, state in world.own_random_states().items()}
    found = {
        WEIGHTS: shards_of(weights, world, copies=copies),
        OPTIMIZERS: shards_of(moments, world, copies=copies) | random,
    }
    return found, state_keys.metadata()


def shards_of(
    tensors: Mapping[str, Tensor], world: World, *, copies: bool = False
) -> dict[str, Shard]:
    """Return what this process writes of some tensors, by name.

    Of a part that several processes hold the first one writes it, and of what all hold whole.
    """
    found = {}
    for name, tensor in tensors.items():
        cut = local(tensor) is not tensor
        mine = not is_replica(tensor) if cut else world.first
        rows = local(tensor.detach())
        if mine and (rows.numel() or not cut):
            data = rows.to("cpu", copy=True) if copies else rows
            found[name] = Shard(data, (rows_of(tensor).start or 0) if cut else 0)
    return found


def write(
    directory: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> dict[str, Written]:
    """The optimizer's file, from what `collect` gave."""
    return {OPTIMIZER: write_whole(directory / OPTIMIZER, tensors, metadata)}


def write_state(directory: Path, state: dict[str, Any]) -> None:
    """`state.json`."""
    text = json.dumps({"version": VERSION, **state}, indent=1)
    write_file(directory / STATE, text)


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
        state = read_json(path / STATE, MOST_STATE_BYTES)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / STATE} cannot be read ({error}).") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / STATE} is not a JSON object.")
    version = state.get("version")
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


def parse_state(
    path: Path, saved: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], Origins]:
    """Return fields of the run's `State` and `History`, and its `Origins`, from `saved`.

    `saved` is the `state.json` of the checkpoint at `path`.
    Unknown fields are left out. Raises `CheckpointError` for a field of the wrong type.
    """
    try:
        verdict = check(_SHAPE, _spelled(saved))
    except RecursionError:
        raise CheckpointError(f"{path / STATE} is nested too deep.") from None
    if verdict.problem:
        raise CheckpointError(f"{path / STATE}: {verdict.problem}.")
    state, history = (
        {name: saved[part][name] for name in verdict.value[part]} for part in ("state", "history")
    )
    return state, history, Origins(**verdict.value["origins"])


def restore(path: Path, model: Any, optimizer: Optimizer, world: World) -> None:
    """Put the optimizer's state and the random numbers back, each process its own part.

    Raises `CheckpointError` for a tensor that is missing, of another shape, or cannot be read.
    """
    file = path / OPTIMIZER
    files = [file] if file.exists() else [*(path / OPTIMIZERS).glob("*.safetensors")]
    file = file if file.exists() else path / OPTIMIZERS
    try:
        stored = StoredTensors(files)
        entry = json.loads(stored.metadata[_HELD])
        keys, numbers = entry["keys"], entry["numbers"]
        with stored.reading() as reader:
            for name, parameter in model.named_parameters():
                state = {}
                for key in keys.get(name, ()):
                    full = f"{key}.{name}"
                    if full in numbers:
                        state[key] = numbers[full]
                    elif full in stored:
                        place = optimizer.states_on(parameter)
                        state[key] = _read(stored, reader, full, parameter, place, file)
                    else:
                        raise CheckpointError(f"{file} has no {key} of {name}.")
                if state:
                    optimizer.restore_state(parameter, state)
            states = [name for name in stored.names() if name.startswith("rng.")]
            world.restore_random_states({name: reader.rows(name).clone() for name in states})
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}).") from None


@torch.no_grad()
def read_averages(path: Path, model: Any) -> None:
    """Set the weights of a whole model to their moving averages in the checkpoint at `path`.

    Weights that never moved have none. Raises `CheckpointError` where there are none at all.
    """
    files = [path / OPTIMIZER] if (path / OPTIMIZER).exists() else [*(path / OPTIMIZERS).iterdir()]
    try:
        stored, found = StoredTensors(files), False
        with stored.reading() as reader:
            for name, parameter in model.named_parameters():
                if (key := f"{EMA}.{name}") in stored:
                    parameter.copy_(reader.rows(key))
                    found = True
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} has no optimizer states to read ({error}).") from None
    if not found:
        raise CheckpointError(
            f"{path.name} has no moving average of the weights: train with --set ema=0.999."
        )


def _read(
    stored: StoredTensors,
    reader: RowReader,
    name: str,
    parameter: Tensor,
    place: torch.device,
    file: Path,
) -> Tensor:
    """A stored tensor on a device: this process's rows if it has the parameter's shape.

    Always a copy: a view would keep the file open, and on the disk when it is removed.
    """
    shape = stored.shape(name)
    if shape == tuple(parameter.shape):
        rows = reader.rows(name, rows_of(parameter)).to(place, copy=True)
        return as_sharded(parameter, rows.contiguous())
    if len(shape) == parameter.ndim >= 2:
        raise CheckpointError(f"{file}: {name} is {shape}, the parameter {tuple(parameter.shape)}.")
    return reader.rows(name).to(place, copy=True)

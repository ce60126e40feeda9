"""One run from the command line to its first step: everything checked, loaded and put in place.

runs/<id>/config.json            the choices; `resume` needs nothing else
          events.jsonl           everything that happened (see `log`)
          initial.safetensors    θ₀, only where the source is no safetensors file
          checkpoints/step-…/    what `resume` continues from
          model/                 the result; loads in transformers unchanged
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

import torch
from rich.console import Console
from rich.text import Text

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint import training_state
from gpu_runner.checkpoint.history import History
from gpu_runner.config import bounds
from gpu_runner.config.file import stored
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, ExitCode, SystemFailure, UsageError, everyones
from gpu_runner.log.runs import CONFIG_NAME
from gpu_runner.log.tail import LOG_NAME, writer_alive
from gpu_runner.model import blocks
from gpu_runner.model.fused import fuses
from gpu_runner.model.load import Source, load
from gpu_runner.optim import optimizer as optim
from gpu_runner.plain import read_whole
from gpu_runner.plan import plan
from gpu_runner.plan.machine import choose_device, set_up
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run.checkpointer import CHECKPOINTS, FINISHED
from gpu_runner.run.running import PreparedRun, execute
from gpu_runner.text import printable
from gpu_runner.train import host_memory
from gpu_runner.train.anchor import Anchor, anchor
from gpu_runner.train.foretold import foretell
from gpu_runner.train.loop import State
from gpu_runner.world import World, join
from unfrozen.runner import WHOLE

MOST_CONFIG_BYTES: Final = 1024 * 1024


def start(config: TrainConfig, console: Console) -> ExitCode:
    """Train as `config` says, in a new run directory. Raises `RunnerError` for user errors."""
    plan.check_new(config.out)
    with _world(config) as world:
        quiet = console if world.first else Console(quiet=True)
        planned = plan.make(config, world.rank, world.size, foretell)
        world.on_first(lambda: _check_place(config.out))
        directory = world.on_first(lambda: _new_directory(planned.config))
        try:
            model = _load(planned, planned.source, world, quiet)
            prepared = _prepared(planned, directory, model, world, History(), State())
        except BaseException:
            if world.first:  # nothing is lost: there is no run yet
                shutil.rmtree(directory, ignore_errors=True)
            raise
        return execute(prepared, quiet)


def resume(directory: Path, console: Console, *, trusted: bool = False) -> ExitCode:
    """Go on with the run in `directory` from its newest verified checkpoint.

    Without one it starts again at step 0, under the same id. The number of processes may be another
    one than before. `trusted` lets the model's own code run: it is asked for anew, because the
    record of a run can come from anywhere. Raises `CheckpointError` when the run is finished, is no
    run, or its data have changed.
    """
    config, moved = _at_home(_read_config(directory), directory)
    config = dataclasses.replace(config, trust_remote_code=trusted)
    if (directory / FINISHED).exists():
        text = f"{directory.name} is finished: there is nothing to resume."
        raise everyones(CheckpointError(text))
    _check_alone(directory)
    with _world(config) as world:
        quiet = console if world.first else Console(quiet=True)
        found, refused = world.on_first(lambda: checkpoint.newest(directory / CHECKPOINTS))
        planned = plan.make(config, world.rank, world.size, foretell)
        source, state, history = planned.source, State(), History()
        if found is not None:
            kept = training_state.read_state(found)
            _check_data(planned, kept, directory)
            source = Source("directory", source.name, str(found), trusted=trusted)
            stood, remembered = training_state.parts(found, kept)
            state, history = State(**stood), History(**remembered)
        model = _load(planned, source, world, quiet)
        prepared = _prepared(planned, directory, model, world, history, state)
        prepared.attempt = 1  # the log knows the true number
        then = "An older checkpoint is used." if found else "The run starts again at step 0."
        prepared.notes = [("warn", text) for text in moved]
        prepared.notes += [("warn", f"{text} {then}") for text in refused]
        if found is not None:
            training_state.restore(found, model, prepared.optimizer, world)
        return execute(prepared, quiet)


@contextmanager
def _world(config: TrainConfig) -> Iterator[World]:
    """The processes of this run, for as long as it lasts."""
    device = choose_device(config.device)
    if device.type == "cpu":
        host_memory.keep_freed()
    set_up(config, device)
    world = join(device)
    try:
        check_together(config, world)
        yield world
    finally:
        world.close()


def check_together(config: TrainConfig, world: World) -> None:
    """Refuse what several processes cannot do yet. Raises `UsageError` before anything is read."""
    world.check(config.grad_accum)
    if config.optimizer_in_backward and config.grad_accum > world.size:  # a run that is resumed
        text = (
            f"optimizer_in_backward takes one micro-batch a process, and --grad-accum is"
            f" {config.grad_accum}: go on with that many processes, under torchrun."
        )
        raise everyones(UsageError(text))
    whole = {
        "activation_offload": (config.activation_offload, "give --set checkpointing=full"),
        f"optimizer {config.optimizer}": (
            config.optimizer in WHOLE,
            "choose adafactor, which needs less memory still",
        ),
    }
    for name, (chosen, remedy) in whole.items():
        if chosen and world.size > 1:
            text = (
                f"{name} needs whole tensors, and {world.size} processes share them out: {remedy}"
            )
            raise everyones(UsageError(f"{text}."))


def _load(planned: RunPlan, source: Source, world: World, console: Console) -> Any:
    """The model; where it will be cut into parts, in the memory of the host first."""
    device = planned.device if world.size == 1 else torch.device("cpu")
    with console.status(Text(printable(f"loading {source.name}"))):
        model = load(source, planned.tokenizer, planned.config.params, device)
    config = planned.config
    fused = fuses(config, planned.shape)
    blocks.prepare(model, config.checkpointing, compiled=config.compile, fused=fused)
    return model


def _prepared(
    planned: RunPlan, directory: Path, model: Any, world: World, history: History, state: State
) -> PreparedRun:
    """Keep θ₀, cut the model into parts, build the optimizer on them."""
    config = planned.config
    torch.manual_seed(config.seed + world.rank)  # dropout, where a model has it
    start = world.on_first(
        lambda: anchor(planned.source, model, directory, untrained=state.step == 0)
    )
    narrow = planned.compute != config.params
    world.shard(model, torch.bfloat16 if narrow else None)
    choice = optim.OptimizerChoice(
        config.optimizer, config.momentum, config.rounding, config.layer_decay, config.seed
    )
    optimizer = optim.build(model, lr=config.lr, weight_decay=config.weight_decay, choice=choice)
    kept = Anchor(start.files, world)
    return PreparedRun(planned, directory, model, kept, optimizer, world, state, history, 0, [])


def _check_alone(directory: Path) -> None:
    """Refuse a run that a process still writes: it would remove what is loaded here."""
    log = directory / LOG_NAME
    if log.is_file() and writer_alive(log):
        text = f"{directory.name} is being trained by another process: wait for it, or stop it."
        raise everyones(CheckpointError(text))


def _check_place(out: str | None) -> None:
    """Refuse, before the first step, a place where the result could not be written."""
    if out is None:
        return
    place = Path(out).expanduser().parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SystemFailure(
            f"--out {out}: no model can be written there ({error.strerror}). Give another one."
        ) from None


def _new_directory(config: TrainConfig) -> Path:
    """A directory for this run, with its choices in it."""
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    directory = Path(config.runs).expanduser() / name
    try:
        directory.mkdir(mode=0o700, parents=True)
        text = json.dumps(config.anchored().as_json(), indent=1)
        (directory / CONFIG_NAME).write_text(text + "\n", "utf-8")
    except OSError as error:
        raise SystemFailure(
            f"--runs {config.runs}: no run can be kept there ({error.strerror})."
            " Give another directory."
        ) from None
    return directory


def _at_home(config: TrainConfig, directory: Path) -> tuple[TrainConfig, list[str]]:
    """The choices of a run as they are meant where it lies now, and what is to be said of that.

    The record of a run that was copied still names the place for the model of the other one.
    """
    runs = directory.absolute().parent
    made = Path(config.runs).expanduser() / directory.name
    if config.out is None or made.resolve() == directory.resolve():
        return dataclasses.replace(config, runs=str(runs)), []
    note = (
        f"This run was copied or moved from {made}: its model goes into its own folder, not to"
        f" {config.out}."
    )
    return dataclasses.replace(config, runs=str(runs), out=None), [note]


def _read_config(directory: Path) -> TrainConfig:
    path = directory / CONFIG_NAME
    try:
        config = stored(read_whole(path, MOST_CONFIG_BYTES), "its record")
        bounds.check(config)
        return config
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory} is not a run of `train`: it has no {CONFIG_NAME}. Give a run's id or"
            " path."
        ) from None
    except (OSError, ValueError, TypeError, UsageError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): the run cannot go on.") from None


def _check_data(planned: RunPlan, kept: dict[str, Any], directory: Path) -> None:
    if kept.get("data_sha256") != planned.train.sha256:
        raise CheckpointError(
            f"the training data of {directory.name} have changed since its checkpoint: its order"
            " and loss would not continue. Put the old file back, or start a new run."
        )

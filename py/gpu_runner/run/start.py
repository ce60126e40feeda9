"""One run from the command line to its first step: everything checked, loaded and put in place.

runs/<id>/config.json            the choices; `resume` needs nothing else
          events.jsonl           everything that happened (see `log`)
          initial.safetensors    θ₀, only where the source is no safetensors file
          checkpoints/step-…/    what `resume` continues from
          model/                 the result; loads in transformers unchanged
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from rich.console import Console

from gpu_runner.checkpoint.origins import Origins, fingerprint
from gpu_runner.checkpoint.training_state import History
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import RowSet
from gpu_runner.errors import (
    CheckpointError,
    ExitCode,
    OutOfMemory,
    SystemFailure,
    UsageError,
    everyones,
    is_out_of_memory,
)
from gpu_runner.log.runs import CONFIG_NAME
from gpu_runner.log.tail import LOG_NAME, writer_alive
from gpu_runner.memory.tracing import predict_by_tracing
from gpu_runner.optim import optimizer as optim
from gpu_runner.plain import open_plain
from gpu_runner.plan import plan
from gpu_runner.plan.machine import choose_device, set_up
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.shown.reading import reading
from gpu_runner.run.ending import unloaded
from gpu_runner.run.events.start_event import versions
from gpu_runner.run.loading import gathered_in, loaded
from gpu_runner.run.prepared import PreparedRun
from gpu_runner.run.running import execute
from gpu_runner.train import allocator
from gpu_runner.train.initial_weights import Anchor, anchor
from gpu_runner.train.loop import State
from gpu_runner.world import World, join
from unfrozen.runner import WHOLE

if sys.platform != "win32":
    import fcntl


def start(config: TrainConfig, console: Console) -> ExitCode:
    """Train as `config` says, in a new run directory. Raises `RunnerError` for user errors."""
    plan.check_new(config.out)
    with world_of(config) as world:
        quiet = console if world.first else Console(quiet=True)
        with reading(quiet) as watch:
            planned = plan.make(config, world.rank, world.size, predict_by_tracing, watch)
        world.on_first(lambda: _check_place(config.out))
        directory = world.on_first(lambda: _new_directory(planned.config))
        with claimed(directory, world):
            try:
                model, notes = loaded(planned, planned.source, world, quiet)
                prepared = prepare(planned, directory, model, world, History(), State())
                prepared.notes = [("warn", text) for text in notes]
            except BaseException as error:
                if world.first:  # nothing is lost: there is no run yet
                    shutil.rmtree(directory, ignore_errors=True)
                if is_out_of_memory(error):
                    raise OutOfMemory(unloaded(planned)) from error
                raise
            return execute(prepared, quiet)


@contextmanager
def world_of(config: TrainConfig) -> Iterator[World]:
    """The processes of this run, for as long as it lasts."""
    device = choose_device(config.device)
    if device.type == "cpu":
        allocator.keep_freed()
    set_up(config, device)
    world = join(device, config.shard_size)
    try:
        check_together(config, world)
        yield world
    finally:
        world.close()


def check_together(config: TrainConfig, world: World) -> None:
    """Refuse what several processes cannot do yet. Raises `UsageError` before anything is read."""
    world.check(config.grad_accum)
    _check_files(config)
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


def _check_files(config: TrainConfig) -> None:
    """Refuse kinds of checkpoints that exclude another choice. Raises `UsageError`."""
    files, why = config.checkpoint_files, ""
    if files == "whole" and config.async_checkpoints:
        why = "async_checkpoints writes shards while steps go on, and all wait for whole files"
    elif files == "shards" and config.trust_remote_code:
        why = "a model's own code is kept beside whole files only"
    if why:
        raise everyones(UsageError(f"checkpoint_files {files}: {why}. Choose auto."))


def prepare(
    planned: RunPlan, directory: Path, model: Any, world: World, history: History, state: State
) -> PreparedRun:
    """Keep θ₀, cut the model into parts, build the optimizer on them."""
    config = planned.config
    torch.manual_seed(config.seed + world.rank)  # dropout, where a model has it
    kept = anchor(
        planned.source,
        model,
        directory,
        untrained=state.step == 0,
        as_published=planned.vocabulary is None,
        world=world,
    )
    world.shard(model, gathered_in(planned))
    choice = optim.OptimizerChoice(
        config.optimizer,
        config.momentum,
        config.rounding,
        config.layer_decay,
        config.seed,
        planned.betas,
        config.epsilon,
        config.rates or (),
        config.decays or (),
    )
    optimizer = optim.build(model, lr=config.lr, weight_decay=config.weight_decay, choice=choice)
    made_of = world.on_first(lambda: _origins(planned, kept, world))
    return PreparedRun(
        planned, directory, model, kept, optimizer, world, state, history, 0, [], made_of
    )


def _origins(planned: RunPlan, start: Anchor, world: World) -> Origins:
    """What the run is made of; θ₀ is read once."""
    away = dict.fromkeys(("runs", "out", "trust_remote_code", "price", "currency"))
    choices = {k: v for k, v in planned.config.as_json().items() if k not in away}
    computed = {
        **versions(),
        "device": planned.device.type,
        "products in": planned.compute,
        "processes": str(world.size),
        "threads": str(torch.get_num_threads()),
    }
    return Origins(
        model=fingerprint(start.files),
        data=planned.train.sha256,
        suites={name: rows.sha256 for name, rows in planned.suites.items()},
        choices=json.loads(json.dumps(choices)),  # as a checkpoint will tell them
        computed=computed,
        sets=sets_of(planned.train),
    )


def sets_of(rows: RowSet) -> dict[str, dict[str, Any]]:
    """The fingerprint and the weight of each set that is trained on, for a checkpoint."""
    return {
        name: {"sha256": sha256, "weight": weight}
        for name, (sha256, weight) in rows.made_of.items()
    }


@contextmanager
def claimed(directory: Path, world: World) -> Iterator[None]:
    """Hold a run for this process, from before it loads a model until it ends.

    Raises `CheckpointError` where another process holds it: it would remove what is loaded here.
    """
    held = world.on_first(lambda: _held(directory))
    try:
        yield
    finally:
        if world.first and held >= 0:
            os.close(held)


def _held(directory: Path) -> int:
    """A descriptor with the lock of a run's record; −1 where the file system knows no locks."""
    log = directory / LOG_NAME
    held = open_plain(directory / CONFIG_NAME)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = log.is_file() and writer_alive(log)  # whose record was written anew since
    except BlockingIOError:
        taken = True
    except OSError:
        os.close(held)
        return -1
    if taken:
        os.close(held)
        text = f"{directory.name} is being trained by another process: wait for it, or stop it."
        raise everyones(CheckpointError(text))
    return held


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
        write_config(config, directory)
    except OSError as error:
        raise SystemFailure(
            f"--runs {config.runs}: no run can be kept there ({error.strerror})."
            " Give another directory."
        ) from None
    return directory


def write_config(config: TrainConfig, directory: Path) -> None:
    """Keep the choices of a run, whole or not at all. Raises `OSError`."""
    text = json.dumps(config.anchored().as_json(), indent=1)
    new = directory / f"{CONFIG_NAME}.tmp"
    new.write_text(text + "\n", "utf-8")
    new.replace(directory / CONFIG_NAME)

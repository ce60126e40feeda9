"""One run from its settings to its last line: plan, setup, training loop, finish.

`fine_tune` is the whole way for a new run; `resume` joins it at the setup. The three stages stand
below it in the order in which they happen:

    make_plan           data read, steps counted, memory predicted (`gpu_runner.plan`)
    setup               the model loaded and sharded, θ₀ noted, the optimizer built
    fit                 train (`gpu_runner.train.loop`), and finish well whatever happens
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console

from gpu_runner.atomic import MANIFEST, MOST_MANIFEST_BYTES
from gpu_runner.checkpoint.directory import time_writing
from gpu_runner.checkpoint.origins import ELSEWHERE, Origins, fingerprint, sampled
from gpu_runner.checkpoint.sharded_directory import HELD_OUT
from gpu_runner.checkpoint.training_state import History
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import TASK, EncodedDataset
from gpu_runner.data.encode import pad_token
from gpu_runner.errors import (
    Diverged,
    ExitCode,
    OutOfMemory,
    UsageError,
    everyones,
    is_out_of_memory,
)
from gpu_runner.log.commands import CommandReader
from gpu_runner.log.tail import LOG_NAME, last_value
from gpu_runner.log.writer import EventLog, Log, LogError, open_log
from gpu_runner.memory.formula import steps_to_measure, uncompiled_step
from gpu_runner.memory.tracing import predict_by_tracing
from gpu_runner.model import added_tokens, blocks, sharded_load
from gpu_runner.model.fused_blocks import fuses
from gpu_runner.model.head import PROBED, head_path
from gpu_runner.model.load import DTYPES, Source, load, read_config, sees
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.offload import Offload
from gpu_runner.model.routers import Routers, routers_of
from gpu_runner.model.sharded_load import WholeOnly
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import stepping
from gpu_runner.plan.data_report import show_reading
from gpu_runner.plan.intervals import Intervals, unsaved_seconds
from gpu_runner.plan.machine import choose_device, configure_torch, gpu_uuids, keep_freed
from gpu_runner.plan.plan import RunPlan, check_new, make_plan, writes_beside_steps, writes_shards
from gpu_runner.plan.step_time import evaluation_seconds
from gpu_runner.run.checkpointer import Checkpointer
from gpu_runner.run.control import ControlLoop, StopRequest
from gpu_runner.run.directory import check_output, claim, make_directory, write_config
from gpu_runner.run.finish import (
    RunEnd,
    describe_load_failure,
    describe_lost,
    end_by_error,
    examine,
    summarize,
)
from gpu_runner.run.interval_chooser import IntervalChooser
from gpu_runner.run.observer import EarlyStop, RunObserver, Sampling, Validation
from gpu_runner.run.payloads import (
    planned_rates,
    rows_payload,
    scored_payload,
    start_payload,
    versions,
)
from gpu_runner.run.recorder import PATIENCE_SECONDS, Recorder
from gpu_runner.run.terminal import Terminal, show_summary
from gpu_runner.system.gpus import Gpus
from gpu_runner.system.price import Spending
from gpu_runner.system.sampler import Sampler
from gpu_runner.train import fisher
from gpu_runner.train.evaluate import Evaluator
from gpu_runner.train.gradients import FIRST_SCALE, GradientCheck
from gpu_runner.train.initial_weights import (
    InitialWeights,
    find_initial_weights,
    published_folder,
)
from gpu_runner.train.loop import State, Training, TrainingStep, train
from gpu_runner.train.penalties import Penalty
from gpu_runner.train.reference import HeldOutReference
from gpu_runner.train.step_position import StepPosition
from gpu_runner.world import World, join
from gpu_runner.world.peers import report
from unfrozen.plain import read_whole

LOCAL: Final = frozenset(("runs", "out", "trust_remote_code", "price", "currency"))
"""Settings that change nothing that is trained."""
SAMPLED_ROWS: Final = 2
"""Held-out examples whose prompts are continued when no prompts are given."""
LOOKED_AT: Final = 64
"""Held-out examples among which different prompts are looked for."""


def fine_tune(config: TrainConfig, console: Console) -> ExitCode:
    """Train as `config` says, in a new run directory; return the exit code.

    Raises `RunnerError` for what the user can repair.
    """
    check_new(config.out)
    with join_world(config) as world:
        console = console if world.first else Console(quiet=True)
        with show_reading(console) as progress:
            plan = make_plan(config, world.rank, world.size, predict_by_tracing, progress)
        check_alike(plan, world)
        world.on_first(lambda: check_output(config.out))
        directory = world.on_first(lambda: make_directory(plan.config))
        with claim(directory, world):
            try:
                model, warnings = load_model(plan, plan.source, world, console)
                with console.status(f"noting the weights of {plan.source.name}"):
                    run = setup(plan, directory, model, world)
            except BaseException as error:
                if world.first:  # nothing is lost: there is no run yet
                    shutil.rmtree(directory, ignore_errors=True)
                if is_out_of_memory(error):
                    raise OutOfMemory(describe_load_failure(plan)) from error
                raise
            return fit(run, console, [("warn", text) for text in warnings])


@contextmanager
def join_world(config: TrainConfig) -> Iterator[World]:
    """Join the processes of this run, on its device, for as long as the run lasts."""
    device = choose_device(config.device)
    if device.type == "cpu":
        keep_freed()
    configure_torch(config, device)
    world = join(device, config.shard_size)
    try:
        apart = {*ELSEWHERE, *LOCAL} - {"steps", "epochs"}
        world.agree({f"--{k}": v for k, v in config.as_json().items() if k not in apart})
        check_processes(config, world)
        yield world
    except BaseException as error:
        world.fail(error)
        raise
    world.close()


def check_alike(plan: RunPlan, world: World, saved: Path | None = None) -> None:
    """Refuse processes that read other examples, another model or other checkpoints.

    Where machines have copies of their own, one may be older. `saved` is the checkpoint to go on
    from. Raises `UsageError` on all processes, before the first step.
    """
    if world.size == 1:
        return
    place = Path(plan.source.place)
    if plan.source.kind == "hub":
        place = published_folder(plan.source) or place
    files = [place] if place.is_file() else place.glob("*.safetensors")
    manifest = (saved or place) / MANIFEST
    sealed = (
        sha256(read_whole(manifest, MOST_MANIFEST_BYTES)).hexdigest()[:12]
        if manifest.is_file()
        else "none"
    )
    world.agree(
        {
            "the examples": plan.train.sha256[:12],
            **{f"the held-out set {name}": rows.sha256[:12] for name, rows in plan.suites.items()},
            "the model": sampled(files),
            "the checkpoint": saved and f"{saved.name}: {sealed}",
        }
    )


def check_processes(config: TrainConfig, world: World) -> None:
    """Refuse what several processes cannot do yet. Raises `UsageError` before anything is read."""
    world.check(config.grad_accum)
    _check_checkpoint_files(config, world.size)
    if config.optimizer_in_backward and config.grad_accum > world.size:  # a run that is resumed
        text = (
            f"--optimizer-in-backward takes one micro-batch a process, and --grad-accum is"
            f" {config.grad_accum}: resume with that many processes, under torchrun."
        )
        raise everyones(UsageError(text))
    if world.size > 1 and config.activation_offload:
        text = (
            f"--activation-offload needs whole tensors, and {world.size} processes shard them:"
            " give --checkpointing full instead."
        )
        raise everyones(UsageError(text))


def _check_checkpoint_files(config: TrainConfig, processes: int) -> None:
    """Refuse kinds of checkpoints that exclude another setting. Raises `UsageError`."""
    if processes > 1 and config.checkpoint_files == "whole" and config.async_checkpoints:
        text = (
            f"--checkpoint-files whole: {processes} processes write beside their steps, with"
            " --async-checkpoints, shards only. Give --checkpoint-files auto."
        )
        raise everyones(UsageError(text))


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that is about to begin or to continue: everything `fit` needs."""

    plan: RunPlan
    directory: Path
    model: Any
    initial_weights: InitialWeights
    optimizer: optim.Optimizer
    world: World
    origins: Origins
    state: State = field(default_factory=State)
    history: History = field(default_factory=History)
    attempt: int = 0
    position: StepPosition = field(default_factory=StepPosition)

    def checkpointer(self) -> Checkpointer:
        """Return what writes its checkpoints and its model."""
        out = self.plan.config.out
        return self.checkpointer_of(
            Checkpointer, Path(out).expanduser() if out else self.directory / "model"
        )

    def checkpointer_of(self, kind: type[Checkpointer], output: Path) -> Checkpointer:
        """Return a checkpointer of this run that writes the trained weights to `output`."""
        return kind(
            directory=self.directory,
            output=output,
            model=self.model,
            tokenizer=self.plan.tokenizer,
            optimizer=self.optimizer,
            history=self.history,
            origins=self.origins,
            world=self.world,
            sharded=writes_shards(self.plan.config, self.world.size),
            asynchronous=not any(self.world.any(not writes_beside_steps(self.plan))),
            keep_last=self.plan.config.keep_last,
            keep_state=self.plan.config.keep_state and self.plan.config.save_every != 0,
        )


def load_model(
    plan: RunPlan, source: Source, world: World, console: Console
) -> tuple[Any, list[str]]:
    """Load the model of a run; return it with warnings about how it was read.

    Of several processes each reads what it will hold, and the model is sharded already. Where that
    is not possible, each reads all of it into host memory, and `setup` shards it.
    """
    with console.status(f"loading {source.name}"):
        model, warnings = _load(plan, source, world)
        special, rows = set(plan.tokenizer.all_special_ids), range(len(plan.tokenizer))
        ids = list(islice((one for one in rows if one not in special), PROBED))
        place = next(model.parameters()).device
        world.run(head_path, model, torch.tensor([ids], device=place))
        return model, warnings


def _load(plan: RunPlan, source: Source, world: World) -> tuple[Any, list[str]]:
    if world.size == 1 and not sharded_load.has_sharded_weights(Path(source.place)):
        return _load_whole(plan, source, plan.device), []
    try:
        if source is plan.source:
            _refuse_parts(plan)
        found = sharded_load.begin(source, plan.tokenizer, plan.config.params)
    except WholeOnly as why:
        model = _load_whole(plan, source, torch.device("cpu"))
        return model, [_warn_read_whole(source, why)] if world.size > 1 else []
    _prepare_blocks(plan, found.model)
    world.shard(found.model, gather_dtype(plan))
    found.fill(world.device)
    return found.model, []


def _refuse_parts(plan: RunPlan) -> None:
    """Raise `WholeOnly` for what must be read as a whole before a run has trained it."""
    if plan.vocabulary is not None:
        raise WholeOnly("tokens are added to it")
    if plan.shape is None and sees(read_config(plan.source)[0]):
        raise WholeOnly("whether it reads text alone is tried on all of it")


def _load_whole(plan: RunPlan, source: Source, device: torch.device) -> Any:
    new, untrained = plan.vocabulary, source is plan.source
    added = len(new.added) if new and untrained else 0
    model = load(source, plan.tokenizer, plan.config.params, device, added)
    if new:
        added_tokens.grow_embeddings(model, new, untrained=untrained)
    _prepare_blocks(plan, model)
    return model


def _prepare_blocks(plan: RunPlan, model: Any) -> None:
    blocks.check(model.config)
    config = plan.config
    fused = fuses(config, plan.shape)
    blocks.prepare(model, config.checkpointing, compiled=config.compile, fused=fused)


def gather_dtype(plan: RunPlan) -> torch.dtype | None:
    """Return the dtype in which sharded blocks are gathered; None for that of the parameters."""
    return DTYPES[plan.compute] if plan.compute != plan.config.params else None


def _warn_read_whole(source: Source, why: WholeOnly) -> str:
    return (
        f"Every process reads all of {source.name} before it keeps its shard: {why}. While the"
        " model loads, the host needs that much memory for each of them."
    )


def setup(
    plan: RunPlan,
    directory: Path,
    model: Any,
    world: World,
    *,
    state: State | None = None,
    history: History | None = None,
    attempt: int = 0,
) -> PreparedRun:
    """Note θ₀, shard the model and build the optimizer on the shards; return the prepared run."""
    config = plan.config
    state, history = state or State(), history or History()
    if plan.compute == "fp16" and not state.loss_scale:
        state.loss_scale = FIRST_SCALE
    torch.manual_seed(config.seed + world.rank)  # dropout, where a model has it
    pretrained = find_initial_weights(
        plan.source,
        model,
        directory,
        untrained=state.step == 0,
        as_published=plan.vocabulary is None,
        world=world,
    )
    world.shard(model, gather_dtype(plan))
    choice = optim.OptimizerChoice.of(config, plan.betas)
    optimizer = optim.build(model, lr=config.lr, weight_decay=config.weight_decay, choice=choice)
    origins = world.on_first(lambda: _origins(plan, pretrained, world))
    return PreparedRun(
        plan, directory, model, pretrained, optimizer, world, origins, state, history, attempt
    )


def _origins(plan: RunPlan, pretrained: InitialWeights, world: World) -> Origins:
    """Describe what the run is made of; θ₀ is read once."""
    choices = {k: v for k, v in plan.config.as_json().items() if k not in LOCAL}
    computed = {
        **versions(),
        "device": plan.device.type,
        "matmuls in": plan.compute,
        "processes": str(world.size),
        "threads": str(torch.get_num_threads()),
    }
    return Origins(
        model=fingerprint(pretrained.files),
        data=plan.train.sha256,
        suites={name: rows.sha256 for name, rows in plan.suites.items()},
        choices=json.loads(json.dumps(choices)),  # in the types that a checkpoint returns
        computed=computed,
        sets=describe_sets(plan.train),
    )


def describe_sets(rows: EncodedDataset) -> dict[str, dict[str, Any]]:
    """Return the fingerprint and the weight of each training set, for a checkpoint."""
    return {
        name: {"sha256": sha256, "weight": weight}
        for name, (sha256, weight) in rows.made_of.items()
    }


def fit(run: PreparedRun, console: Console, notes: Sequence[tuple[str, str]] = ()) -> ExitCode:
    """Train, and log how the run ended before anything else can go wrong; return the exit code.

    `notes` are (level, text) alerts for the start of the log. Raises the error that ended the run.
    """
    plan = run.plan
    predicted = plan.prediction.peak_bytes if plan.prediction else 0
    with (
        open_log(run.directory, run.attempt, first=run.world.first) as log,
        StopRequest() as stop,
        Terminal(console, plan.steps, predicted) as terminal,
    ):
        spending = _spending(run)
        recorder = Recorder(log, terminal, run.history, spending)
        sampler = _sampler(run, log, recorder, spending)
        checkpointer = run.checkpointer()
        intervals = Intervals(plan.steps, plan.config.eval_every, plan.config.save_every)
        _log_when_lost(run, log, spending)
        try:
            chooser = _chooser(run, recorder, checkpointer, intervals)
            observer = _observer(run, recorder, checkpointer, chooser)
            control = _control(run, log, recorder, observer, stop)
            terminal.begin(plan, run.directory.name, run.state.step)
            _announce(run, log, recorder, notes)
            sampler.start()
            penalty = _penalty(run, recorder)
            observer.compiles_at = _compiles_at(run)
            step = _step(run, penalty)
            _train(_training(run, step, observer, control, intervals), observer)
            end = _finish(run, observer, checkpointer, recorder, control.stopped_by)
        except BaseException as error:  # logged here, raised again below
            where = plan, run.position, run.state, recorder
            end = end_by_error(error, plan, lambda e: examine(e, *where), run.world)
        sampler.stop()
        log.emit("run.end", run.state.step, **end.payload(plan, run.state, run.history, spending))
        if end.status == "finished":
            checkpointer.clean_up(run.state)
    if run.world.first:  # it alone changes what lies in the directory, and shows what does
        stood = run.directory, run.state, run.history
        show_summary(console, summarize(end, plan, *stood, spending, terminal.losses))
    if end.error is not None:
        raise end.error
    return end.code


def _log_when_lost(run: PreparedRun, log: Log, spending: Spending | None) -> None:
    """Log the end of a run whose main thread waits for a process that has ended."""
    if run.world.peers is None:
        return

    def ended(reason: str) -> None:
        end = RunEnd("failed", describe_lost(reason))
        payload = end.payload(run.plan, run.state, run.history, spending)
        with suppress(LogError):  # its end is logged already
            log.emit("run.end", run.state.step, **payload)
        report(reason)

    run.world.peers.on_lost = ended


def _train(training: Training, observer: RunObserver) -> None:
    """Train, and wait for a checkpoint that is still being written."""
    try:
        train(training)
    except Diverged:  # on every process alike
        observer.settle()
        raise
    observer.settle()


def _finish(
    run: PreparedRun,
    observer: RunObserver,
    checkpointer: Checkpointer,
    recorder: Recorder,
    stopped_by: str,
) -> RunEnd:
    """Write the model if the run is finished; return how it ended."""
    finished = observer.stop.reached or run.state.step == run.plan.steps
    if not finished:
        return RunEnd("stopped", f"asked to stop by {stopped_by}")
    if checkpointer.keep_state:
        observer.keep(run.state)  # before the best weights are restored
        observer.settle()
    if observer.stop.reached:
        reason = observer.restore_best(run.state, checkpointer.best())
        better = []
    else:
        reason, better = f"all {run.plan.steps} steps are done", checkpointer.better()
    recorder.saved(run.state, checkpointer.finish())
    return RunEnd("finished", reason, model=checkpointer.output, step=run.state.step, better=better)


def _spending(run: PreparedRun) -> Spending | None:
    """Count what the run costs, where a price was given, on top of what its log has counted."""
    price, log = run.plan.price, run.directory / LOG_NAME
    if price is None:
        return None
    earlier = last_value(log, "cost/spent") if run.attempt else None
    return Spending(price, run.plan.steps, earlier or 0.0)


def _sampler(run: PreparedRun, log: Log, recorder: Recorder, spending: Spending | None) -> Sampler:
    """Return the thread that measures the machine; only one process has a log."""
    names = gpu_uuids(run.plan.device)
    return Sampler(
        log,
        lambda: run.state.step,
        open_gpus=partial(Gpus.open, names) if names else None,
        report=recorder.alert,
        more_metrics=dict if spending is None else spending.now,
        enabled=run.world.first,
    )


def _control(
    run: PreparedRun, log: Log, recorder: Recorder, observer: RunObserver, stop: StopRequest
) -> ControlLoop:
    """Return what obeys commands between steps; the process that writes the log reads them."""
    commands = None
    if isinstance(log, EventLog):
        commands = CommandReader(run.directory, log.run, log.attempt)
    return ControlLoop(
        world=run.world,
        state=run.state,
        recorder=recorder,
        observer=observer,
        signals=stop,
        commands=commands,
    )


def _training(
    run: PreparedRun,
    step: TrainingStep,
    observer: RunObserver,
    control: ControlLoop,
    intervals: Intervals,
) -> Training:
    plan = run.plan
    measured = steps_to_measure(plan.steps, plan.heaviest_step)
    return Training(
        step=step,
        state=run.state,
        observer=observer,
        go_on=control.go_on,
        intervals=intervals,
        measured_steps=measured,
        written_step=uncompiled_step(plan.config, measured),
        position=run.position,
    )


def _compiles_at(run: PreparedRun) -> int:
    """Return the first step of this attempt that runs compiled blocks; 0 where none does."""
    plan = run.plan
    if not plan.config.compile:
        return 0
    measured = steps_to_measure(plan.steps, plan.heaviest_step)
    eager = {uncompiled_step(plan.config, measured)}
    eager |= measured if plan.device.type == "cpu" else set()  # measured there tensor by tensor
    later = range(run.state.step + 1, plan.steps + 1)
    return next((number for number in later if number not in eager), 0)


def _step(run: PreparedRun, penalty: Penalty) -> TrainingStep:
    plan, config = run.plan, run.plan.config
    strength = config.router_balance
    return TrainingStep(
        model=run.model,
        optimizer=stepping(
            config,
            run.model,
            run.optimizer,
            lambda: plan.schedule.at(run.state.step + 1),
            run.world,
        ),
        feed=plan.feed,
        schedule=plan.schedule,
        clip=config.clip,
        autocast=plan.autocast,
        saving=Offload(run.model) if config.activation_offload else nullcontext,
        loss=partial(loss_sum, kind=config.loss),
        penalty=penalty,
        routers=routers_of(run.model, strength) if strength else Routers(),
        check=GradientCheck(config.allow_untrained or ()),
        world=run.world,
    )


def _chooser(
    run: PreparedRun, recorder: Recorder, checkpointer: Checkpointer, intervals: Intervals
) -> IntervalChooser:
    """Return what chooses the intervals; what it chooses joins the settings of the run."""
    config = run.plan.config

    def writing() -> tuple[float, float]:
        if config.save_every is not None and config.early_stop is None:
            return 0.0, 0.0
        size, weights = checkpointer.sizes()
        seconds = time_writing(run.directory, size)
        return seconds, seconds * weights / size

    def chosen(settings: TrainConfig, step: int, text: str) -> None:
        checkpointer.choose(eval_every=settings.eval_every, save_every=settings.save_every)
        if run.world.first:
            write_config(settings, run.directory)
        recorder.alert("info", text, step)

    return IntervalChooser(
        config,
        intervals,
        run.world,
        guess=partial(evaluation_seconds, run.plan),
        writing=writing,
        chosen=chosen,
    )


def _observer(
    run: PreparedRun, recorder: Recorder, checkpointer: Checkpointer, chooser: IntervalChooser
) -> RunObserver:
    plan, config = run.plan, run.plan.config
    validation = Validation(
        model=run.model,
        tokenizer=plan.tokenizer,
        encoder=plan.encoder,
        evaluator=Evaluator(
            plan.suites,
            config.micro_batch,
            pad_token(plan.tokenizer),
            plan.device,
            plan.autocast,
            run.world,
            routers_of(run.model),
            reference=HeldOutReference(run.directory / HELD_OUT, run.world, plan.suites),
        ),
        initial_weights=run.initial_weights,
        sampling=_sampling(plan),
        steps=plan.steps,
        world=run.world,
        optimizer=run.optimizer,
        recorder=recorder,
    )
    stop, unsaved = EarlyStop(config.early_stop, run.history), unsaved_seconds(config)
    return RunObserver(recorder, validation, stop, checkpointer, chooser, unsaved)


def _sampling(plan: RunPlan) -> Sampling:
    config, encoder = plan.config, plan.encoder
    if config.sample_prompts is not None:
        prompts = dict.fromkeys(config.sample_prompts)
        asked = tuple((prompt, encoder.render_question(prompt)) for prompt in prompts)
        return Sampling(asked, config.sample_tokens, config.seq_len)
    texts: dict[str, str] = {}
    for row in islice(plan.suites[TASK].rows, LOOKED_AT):
        texts.setdefault(encoder.prompt_text(row), encoder.question_of(row))
        if len(texts) == SAMPLED_ROWS:
            break
    found = tuple((asked, read) for read, asked in texts.items())
    return Sampling(found, config.sample_tokens, config.seq_len)


def _penalty(run: PreparedRun, recorder: Recorder) -> Penalty:
    """Return the penalties of a run, once the Fisher is estimated before the first step."""
    if run.plan.config.ewc and run.state.step == 0:
        recorder.busy("estimating the Fisher", run.state.step, PATIENCE_SECONDS)
    return fisher.prepare(
        run.plan,
        run.model,
        run.initial_weights,
        run.directory,
        untrained=run.state.step == 0,
        optimizer=run.optimizer,
        tell=lambda level, text: recorder.alert(level, text, run.state.step),
        progress=recorder.progress,
    )


def _announce(
    run: PreparedRun, log: Log, recorder: Recorder, notes: Sequence[tuple[str, str]]
) -> None:
    """Log what runs and what is trained, then every remark about it."""
    step = run.state.step
    if not (isinstance(log, EventLog) and log.begun):  # killed before its first event, or lost
        log.emit("run.start", step, **start_payload(run.plan, run.model))
    if step or run.attempt:
        log.emit("run.resume", step, from_step=step, plan=planned_rates(run.plan.schedule))
    if run.world.first:
        log.emit("rows", step, **rows_payload(run.plan))
    if step == 0 and run.world.size == 1:  # what θ₀ makes of the examples
        recorder.busy("scoring examples", step, PATIENCE_SECONDS)
        log.emit("rows", step, **scored_payload(run.plan, run.model, recorder.progress))
    remarks = [("warn", text) for text in run.plan.remarks()]
    for level, text in (*remarks, *notes):
        recorder.alert(level, text, step)

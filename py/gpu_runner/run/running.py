"""A run that is set up: train, and end well whatever happens."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

from rich.console import Console

from gpu_runner.data.dataset import TASK
from gpu_runner.data.encode import pad_token
from gpu_runner.errors import Diverged, ExitCode
from gpu_runner.log.heartbeat import PATIENCE_SECONDS, Log
from gpu_runner.log.mailbox import Mailbox
from gpu_runner.log.opened import open_log
from gpu_runner.log.tail import LOG_NAME, last_value
from gpu_runner.log.writer import EventLog
from gpu_runner.memory.formula import steps_to_measure, uncompiled_step
from gpu_runner.model.blocks import offloading
from gpu_runner.model.loss import training_loss
from gpu_runner.model.routers import Routers, routers_of
from gpu_runner.optim.optimizer_in_backward import Early
from gpu_runner.plan.machine import card_names
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run.checkpointer import Checkpointer
from gpu_runner.run.control import ControlLoop
from gpu_runner.run.ending import End, describe_error, summary_of
from gpu_runner.run.events import out_of_memory, rows_event, start_event
from gpu_runner.run.events.progress import Terminal, show
from gpu_runner.run.events.record import Recorder
from gpu_runner.run.observe import EarlyStop, RunObserver, Sampling, Validation
from gpu_runner.run.prepared import PreparedRun
from gpu_runner.run.signals import StopRequest
from gpu_runner.system.cards import Cards
from gpu_runner.system.price import Spending
from gpu_runner.system.sampler import Sampler
from gpu_runner.train import fisher
from gpu_runner.train.evaluate import Evaluator
from gpu_runner.train.loop import State, Training, TrainingStep, train
from gpu_runner.train.penalties import Penalty

SAMPLED_ROWS = 2  # held-out rows whose prompts are continued when no prompts are given


def execute(prepared: PreparedRun, console: Console) -> ExitCode:
    """Train, and write how it ended into the log before anything else can go wrong."""
    planned = prepared.plan
    predicted = planned.prediction.peak_bytes if planned.prediction else 0
    with (
        open_log(prepared.directory, prepared.attempt, first=prepared.world.first) as log,
        StopRequest() as stop,
        Terminal(console, planned.steps, predicted) as terminal,
    ):
        prepared.spending = spending = _spending(prepared)
        end = _train_and_end(prepared, log, terminal, stop)
    state, history = prepared.state, prepared.history
    summary = summary_of(end, planned, prepared.directory, state, history, spending)
    summary.training = terminal.losses
    show(console, summary)
    if end.error is not None:
        raise end.error
    return end.code


def _train_and_end(prepared: PreparedRun, log: Log, terminal: Terminal, stop: StopRequest) -> End:
    checkpointer = prepared.checkpointer()
    recorder = Recorder(log, terminal, prepared.history, prepared.spending)
    sampler = _sampler(prepared, log, recorder)
    try:
        observer = _observer(prepared, recorder, checkpointer)
        control = ControlLoop(
            world=prepared.world,
            state=prepared.state,
            recorder=recorder,
            observer=observer,
            signals=stop,
            mailbox=_mailbox(prepared, log),
        )
        terminal.begin(prepared.plan, prepared.directory.name, prepared.state.step)
        _announce(prepared, log, recorder)
        sampler.start()
        _train(_training(prepared, observer, control, _penalty(prepared, recorder)), observer)
        end = _ended(prepared, observer, checkpointer, recorder, control.asked_by)
    except BaseException as error:  # logged here, raised again by the caller
        where = prepared.plan, prepared.place, prepared.state, recorder
        end = describe_error(error, prepared.plan, lambda e: out_of_memory.examine(e, *where))
    sampler.stop()
    summary = end.numbers(prepared.plan, prepared.state, prepared.history, prepared.spending)
    said: dict[str, Any] = {"status": end.status, "reason": end.reason, "summary": summary}
    if end.post_mortem is not None:
        said["post_mortem"] = end.post_mortem.payload()
    log.emit("run.end", prepared.state.step, **said)
    if end.status == "finished":
        end.step = prepared.state.step
        checkpointer.clean_up(prepared.state)
    return end


def _train(training: Training, observer: RunObserver) -> None:
    """Train, and wait for a checkpoint that is still being written."""
    try:
        train(training)
    except Diverged:  # on every process alike
        observer.settle()
        raise
    observer.settle()


def _ended(
    prepared: PreparedRun,
    observer: RunObserver,
    checkpointer: Checkpointer,
    recorder: Recorder,
    asked_by: str,
) -> End:
    """The end of a run that did what it was asked, with its model written if it is finished."""
    over = observer.stop.reached or prepared.state.step == prepared.plan.steps
    if over and checkpointer.keep_state:
        observer.keep(prepared.state)  # before weights are gone back to
        observer.settle()
    if observer.stop.reached:
        reason = observer.go_back(prepared.state, checkpointer.best())
        recorder.saved(prepared.state, checkpointer.finish())
        return End("finished", reason, model=checkpointer.output)
    if over:
        recorder.saved(prepared.state, checkpointer.finish())
        reason, better = f"all {prepared.plan.steps} steps are done", checkpointer.better()
        return End("finished", reason, model=checkpointer.output, better=better)
    return End("stopped", f"asked to stop by {asked_by}")


def _spending(prepared: PreparedRun) -> Spending | None:
    """What the run costs, where a price was given: on top of what its log says that it cost."""
    price, log = prepared.plan.price, prepared.directory / LOG_NAME
    if price is None:
        return None
    earlier = last_value(log, "cost/spent") if prepared.attempt else None
    return Spending(price, prepared.plan.steps, earlier or 0.0)


def _sampler(prepared: PreparedRun, log: Log, recorder: Recorder) -> Sampler:
    """Who measures the machine from the side; only one process has a log."""
    names, spending = card_names(prepared.plan.device), prepared.spending
    return Sampler(
        log,
        lambda: prepared.state.step,
        cards=partial(Cards.open, names) if names else None,
        tell=recorder.alert,
        also=dict if spending is None else spending.now,
        wanted=prepared.world.first,
    )


def _mailbox(prepared: PreparedRun, log: Log) -> Mailbox | None:
    """Where the page's orders to this attempt arrive; the process with the log reads them."""
    if not isinstance(log, EventLog):
        return None
    return Mailbox(prepared.directory, log.run, log.attempt)


def _training(
    prepared: PreparedRun, observer: RunObserver, control: ControlLoop, penalty: Penalty
) -> Training:
    planned = prepared.plan
    measured = steps_to_measure(planned.steps, planned.heaviest_step)
    return Training(
        step=_step(prepared, penalty),
        state=prepared.state,
        observer=observer,
        go_on=control.go_on,
        eval_every=planned.config.eval_every,
        save_every=planned.save_every,
        measured_steps=measured,
        written_step=uncompiled_step(planned.config, measured),
        place=prepared.place,
    )


def _step(prepared: PreparedRun, penalty: Penalty) -> TrainingStep:
    planned, config, world = prepared.plan, prepared.plan.config, prepared.world
    optimizer: Any = prepared.optimizer
    if config.optimizer_in_backward:
        rate = partial(_rate_under_way, planned, prepared.state)
        optimizer = Early(prepared.model, optimizer, rate, planned.device, world)
    return TrainingStep(
        model=prepared.model,
        optimizer=optimizer,
        feed=planned.feed,
        schedule=planned.schedule,
        clip=config.clip,
        autocast=planned.autocast,
        saving=offloading(prepared.model) if config.activation_offload else nullcontext,
        loss=training_loss(config.loss, config.neftune_alpha),
        penalty=penalty,
        routers=_balanced(prepared),
        world=world,
    )


def _balanced(prepared: PreparedRun) -> Routers:
    """The routers that training looks at: none where they are left alone."""
    strength = prepared.plan.config.router_balance
    return routers_of(prepared.model, strength) if strength else Routers()


def _observer(prepared: PreparedRun, recorder: Recorder, checkpointer: Checkpointer) -> RunObserver:
    planned, config = prepared.plan, prepared.plan.config
    validation = Validation(
        model=prepared.model,
        tokenizer=planned.tokenizer,
        evaluator=Evaluator(
            planned.suites,
            config.micro_batch,
            pad_token(planned.tokenizer),
            planned.device,
            planned.autocast,
            prepared.world,
            routers_of(prepared.model),
        ),
        anchor=prepared.anchor,
        sampling=_sampling(planned),
        steps=planned.steps,
        world=prepared.world,
        stalled_share=prepared.optimizer.stalled_share,
        recorder=recorder,
    )
    return RunObserver(
        recorder, validation, EarlyStop(config.early_stop, prepared.history), checkpointer
    )


def _penalty(prepared: PreparedRun, recorder: Recorder) -> Penalty:
    return fisher.prepare(
        prepared.plan,
        prepared.model,
        prepared.anchor,
        prepared.optimizer,
        prepared.directory,
        untrained=prepared.state.step == 0,
        tell=lambda level, text: recorder.alert(level, text, prepared.state.step),
    )


def _rate_under_way(planned: RunPlan, state: State) -> float:
    return planned.schedule.at(state.step + 1)


def _announce(prepared: PreparedRun, log: Log, recorder: Recorder) -> None:
    step = prepared.state.step
    if not (isinstance(log, EventLog) and log.begun):  # killed before its first event, or lost
        log.emit("run.start", step, **start_event.payload(prepared.plan, prepared.model))
    if step or prepared.attempt:
        plan = start_event.planned_rates(prepared.plan.schedule)
        log.emit("run.resume", step, from_step=step, plan=plan)
    _show_rows(prepared, log, recorder)
    remarks = [("warn", text) for text in prepared.plan.remarks()]
    for level, text in (*remarks, *prepared.notes):
        recorder.alert(level, text, step)


def _show_rows(prepared: PreparedRun, log: Log, recorder: Recorder) -> None:
    """What is trained; before the first step also what θ₀ makes of it, if one process can say."""
    planned, step = prepared.plan, prepared.state.step
    if prepared.world.first:
        log.emit("rows", step, **rows_event.payload(planned))
    if step == 0 and prepared.world.size == 1:
        recorder.busy("scoring rows", step, PATIENCE_SECONDS)
        log.emit("rows", step, **rows_event.scored(planned, prepared.model))


def _sampling(planned: RunPlan) -> Sampling:
    config, encoder = planned.config, planned.encoder
    if config.sample_prompts is not None:
        asked = tuple((prompt, encoder.question_text(prompt)) for prompt in config.sample_prompts)
        return Sampling(asked, config.sample_tokens, config.seq_len)
    rows = planned.suites[TASK].rows[:SAMPLED_ROWS]
    texts = [(encoder.question_of(row), encoder.prompt_text(row)) for row in rows]
    return Sampling(tuple(texts), config.sample_tokens, config.seq_len)

"""A run that is set up: train, and end well whatever happens."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from gpu_runner.checkpoint.history import History
from gpu_runner.data.encode import pad_token
from gpu_runner.data.rows import TASK
from gpu_runner.errors import CheckpointError, ExitCode
from gpu_runner.log.mailbox import Mailbox
from gpu_runner.log.pulse import Log
from gpu_runner.log.writer import EventLog, LogError, SystemClock
from gpu_runner.model.blocks import offloading
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.early import Early
from gpu_runner.plan.plan import RunPlan
from gpu_runner.plan.predict import steps_to_measure
from gpu_runner.run import run_start
from gpu_runner.run.ending import End, describe_error, summary_of
from gpu_runner.run.keep import Checkpointer
from gpu_runner.run.obey import ControlLoop
from gpu_runner.run.observe import EarlyStop, RunObserver, Sampling, Validation
from gpu_runner.run.progress import Terminal, show
from gpu_runner.run.record import Recorder
from gpu_runner.run.signals import StopRequest
from gpu_runner.train import fisher
from gpu_runner.train.anchor import Anchor
from gpu_runner.train.evaluate import Evaluator
from gpu_runner.train.loop import State, Training, TrainingStep, train
from gpu_runner.train.penalties import Penalty
from gpu_runner.world import World

SAMPLED_ROWS = 2  # held-out rows whose prompts are continued when no prompts are given


@dataclass(slots=True)
class PreparedRun:
    """A run that is about to begin or to go on."""

    plan: RunPlan
    directory: Path
    model: Any
    anchor: Anchor
    optimizer: optim.Optimizer
    world: World
    state: State
    history: History
    attempt: int
    notes: list[str]

    def keeper(self) -> Checkpointer:
        """Who writes its checkpoints and its model."""
        out = self.plan.config.out
        return self.keeping(
            Checkpointer, Path(out).expanduser() if out else self.directory / "model"
        )

    def keeping(self, kind: type[Checkpointer], output: Path) -> Checkpointer:
        """A keeper of this run, which leaves in `output` what was trained."""
        return kind(
            directory=self.directory,
            output=output,
            model=self.model,
            tokenizer=self.plan.tokenizer,
            optimizer=self.optimizer,
            history=self.history,
            data_sha256=self.plan.train.sha256,
            world=self.world,
        )


class SilentLog:
    """The log of every process but the first: nothing is written twice."""

    def emit(self, kind: str, step: int, **payload: object) -> bool:
        """Nothing."""
        del kind, step, payload
        return True


def execute(session: PreparedRun, console: Console) -> ExitCode:
    """Train, and write how it ended into the log before anything else can go wrong."""
    planned = session.plan
    predicted = planned.prediction.peak_bytes if planned.prediction else 0
    with (
        _log(session) as log,
        StopRequest() as stop,
        Terminal(console, planned.steps, predicted) as terminal,
    ):
        end = _train_and_end(session, log, terminal, stop)
    summary = summary_of(end, planned, session.directory, session.state, session.history)
    summary.training = terminal.losses
    show(console, summary)
    if end.error is not None:
        raise end.error
    return ExitCode.OK


def _log(session: PreparedRun) -> AbstractContextManager[Log]:
    """The log of the run, opened; only the first process has one."""
    if not session.world.first:
        return nullcontext(SilentLog())
    try:
        return EventLog(
            session.directory / "events.jsonl",
            run=session.directory.name,
            clock=SystemClock(),
            attempt=session.attempt,
        )
    except LogError as error:
        raise CheckpointError(str(error)) from None


def _train_and_end(session: PreparedRun, log: Log, terminal: Terminal, stop: StopRequest) -> End:
    keeper = session.keeper()
    try:
        recorder = Recorder(log, terminal, session.history)
        observer = _observer(session, recorder, keeper)
        attendant = ControlLoop(
            world=session.world,
            state=session.state,
            recorder=recorder,
            observer=observer,
            signals=stop,
            mailbox=_mailbox(session, log),
        )
        terminal.begin(session.plan, session.directory.name, session.state.step)
        _announce(session, log, recorder)
        train(_job(session, observer, attendant, _penalty(session, recorder)))
        if observer.stop.reached:
            reason = observer.go_back(session.state, keeper.best())
            recorder.saved(session.state, keeper.finish())
            end = End("finished", reason)
            end.model = keeper.output
        elif session.state.step == session.plan.steps:
            recorder.saved(session.state, keeper.finish())
            end = End("finished", f"all {session.plan.steps} steps are done")
            end.model, end.better = keeper.output, keeper.better()
        else:
            end = End("stopped", f"asked to stop by {attendant.asked_by}")
    except BaseException as error:  # logged here, raised again by the caller
        end = describe_error(error, session.plan)
    summary = end.numbers(session.plan, session.state, session.history)
    log.emit("run.end", session.state.step, status=end.status, reason=end.reason, summary=summary)
    if end.status == "finished":
        keeper.clean_up()
    return end


def _mailbox(session: PreparedRun, log: Log) -> Mailbox | None:
    """Where the page's orders to this attempt arrive; the process with the log reads them."""
    if not isinstance(log, EventLog):
        return None
    return Mailbox(session.directory, log.run, log.attempt)


def _job(
    session: PreparedRun, observer: RunObserver, attendant: ControlLoop, penalty: Penalty
) -> Training:
    return Training(
        step=_step(session, penalty),
        state=session.state,
        observer=observer,
        go_on=attendant.go_on,
        eval_every=session.plan.config.eval_every,
        save_every=session.plan.save_every,
        measured_steps=steps_to_measure(session.plan.steps, session.plan.heaviest_step),
    )


def _step(session: PreparedRun, penalty: Penalty) -> TrainingStep:
    planned, config, world = session.plan, session.plan.config, session.world
    optimizer: Any = session.optimizer
    if config.optimizer_in_backward:
        rate = partial(_rate_under_way, planned, session.state)
        optimizer = Early(session.model, optimizer, rate, planned.device, world)
    return TrainingStep(
        model=session.model,
        optimizer=optimizer,
        feed=planned.feed,
        schedule=planned.schedule,
        clip=config.clip,
        autocast=planned.autocast,
        saving=offloading(session.model) if config.activation_offload else nullcontext,
        loss=partial(loss_sum, kind=config.loss),
        penalty=penalty,
        world=world,
    )


def _observer(session: PreparedRun, recorder: Recorder, keeper: Checkpointer) -> RunObserver:
    planned, config = session.plan, session.plan.config
    validation = Validation(
        model=session.model,
        tokenizer=planned.tokenizer,
        evaluator=Evaluator(
            planned.suites,
            config.micro_batch,
            pad_token(planned.tokenizer),
            planned.device,
            planned.autocast,
            session.world,
        ),
        anchor=session.anchor,
        sampling=_sampling(planned),
        steps=planned.steps,
        world=session.world,
        stalled_share=session.optimizer.stalled_share,
        recorder=recorder,
    )
    return RunObserver(recorder, validation, EarlyStop(config.early_stop, session.history), keeper)


def _penalty(session: PreparedRun, recorder: Recorder) -> Penalty:
    return fisher.prepare(
        session.plan,
        session.model,
        session.anchor,
        session.optimizer,
        session.directory,
        untrained=session.state.step == 0,
        tell=lambda level, text: recorder.alert(level, text, session.state.step),
    )


def _rate_under_way(planned: RunPlan, state: State) -> float:
    return planned.schedule.at(state.step + 1)


def _announce(session: PreparedRun, log: Log, recorder: Recorder) -> None:
    step = session.state.step
    if session.attempt == 0:
        log.emit("run.start", step, **run_start.payload(session.plan, session.model))
    else:
        log.emit("run.resume", step, from_step=step)
    for text in (*session.plan.remarks(), *session.notes):
        recorder.alert("warn", text, step)


def _sampling(planned: RunPlan) -> Sampling:
    config, encoder = planned.config, planned.encoder
    if config.sample_prompts is not None:
        asked = tuple((prompt, encoder.question_text(prompt)) for prompt in config.sample_prompts)
        return Sampling(asked, config.sample_tokens, config.seq_len)
    rows = planned.suites[TASK].rows[:SAMPLED_ROWS]
    texts = [(encoder.question_of(row), encoder.prompt_text(row)) for row in rows]
    return Sampling(tuple(texts), config.sample_tokens, config.seq_len)

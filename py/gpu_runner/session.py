"""One run from the command line to its last line: set up, train, and end well whatever happens.

runs/<id>/config.json            the choices; `resume` needs nothing else
          events.jsonl           everything that happened (see `log`)
          initial.safetensors    θ₀, only where the source is no safetensors file
          checkpoints/step-…/    what `resume` continues from
          model/                 the result; loads in transformers unchanged
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gpu_runner import checkpoint, optim, plan, run_start
from gpu_runner.anchor import anchor
from gpu_runner.config import TrainConfig
from gpu_runner.ending import End, describe_error, summary_of
from gpu_runner.errors import CheckpointError, ExitCode, SystemFailure, UsageError
from gpu_runner.evaluate import TASK, Evaluator, pad_token
from gpu_runner.keep import CHECKPOINTS, FINISHED, Keeper
from gpu_runner.log import EventLog, LogError, SystemClock
from gpu_runner.model import Source, load
from gpu_runner.plan import Plan
from gpu_runner.predict import steps_to_measure
from gpu_runner.progress import Terminal, show
from gpu_runner.record import History, Recorder, Sampling
from gpu_runner.signals import StopRequest
from gpu_runner.train import Job, State, train

SAMPLED_ROWS = 2  # held-out rows whose prompts are continued when no prompts are given


@dataclass(slots=True)
class Session:
    """A run that is about to begin or to go on."""

    plan: Plan
    directory: Path
    model: Any
    optimizer: torch.optim.AdamW
    state: State
    history: History
    attempt: int
    notes: list[str]

    def keeper(self) -> Keeper:
        """Who writes its checkpoints and its model."""
        out = self.plan.config.out
        return Keeper(
            directory=self.directory,
            output=Path(out).expanduser() if out else self.directory / "model",
            model=self.model,
            tokenizer=self.plan.tokenizer,
            optimizer=self.optimizer,
            history=self.history,
            data_sha256=self.plan.train.sha256,
        )


def start(config: TrainConfig, console: Console) -> ExitCode:
    """Train as `config` says, in a new run directory. Raises `RunnerError` for user errors."""
    if config.out and Path(config.out).expanduser().exists():
        raise UsageError(
            f"--out {config.out} exists: give a directory that does not, or remove it."
        )
    planned = plan.make(config)
    with console.status(f"loading {planned.source.name}"):
        model = load(planned.source, planned.tokenizer, config.params, planned.device)
    directory = _new_directory(Path(config.runs))
    text = json.dumps(config.anchored().as_json(), indent=1)
    (directory / "config.json").write_text(text + "\n", "utf-8")
    return _execute(_session(planned, directory, model), console)


def resume(directory: Path, console: Console) -> ExitCode:
    """Go on with the run in `directory` from its newest verified checkpoint.

    Without one it starts again at step 0, under the same id. Raises `CheckpointError` when the run
    is finished, is no run, or its data have changed.
    """
    config = _read_config(directory)
    if (directory / FINISHED).exists():
        raise CheckpointError(f"{directory.name} is finished: there is nothing to resume.")
    found, refused = checkpoint.newest(directory / CHECKPOINTS)
    planned = plan.make(config)
    source = planned.source
    if found is not None:
        source = Source("directory", source.name, str(found))
    with console.status(f"loading {found or source.name}"):
        model = load(source, planned.tokenizer, config.params, planned.device)
    session = _session(planned, directory, model)
    session.attempt = 1  # the log knows the true number
    session.notes = [f"{text} An older checkpoint is used." for text in refused]
    if found is not None:
        kept = checkpoint.read_state(found)
        _check_data(planned, kept, directory)
        checkpoint.restore(found, model, session.optimizer)
        session.state = State(**kept["state"])
        session.history = History(**kept["history"])
    return _execute(session, console)


def _session(planned: Plan, directory: Path, model: Any) -> Session:
    config = planned.config
    torch.manual_seed(config.seed)  # dropout, where a model has it; a checkpoint restores its own
    optimizer = optim.build(model, lr=config.lr, weight_decay=config.weight_decay)
    return Session(planned, directory, model, optimizer, State(), History(), 0, [])


def _new_directory(runs: Path) -> Path:
    name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    directory = runs.expanduser() / name
    try:
        directory.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise SystemFailure(
            f"--runs {runs}: no run can be kept there ({error.strerror}). Give another directory."
        ) from None
    return directory


def _read_config(directory: Path) -> TrainConfig:
    path = directory / "config.json"
    try:
        return TrainConfig.from_json(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory} is not a run of `train`: it has no config.json. Give a run's id or path."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): the run cannot go on.") from None


def _check_data(planned: Plan, kept: dict[str, Any], directory: Path) -> None:
    if kept["data_sha256"] != planned.train.sha256:
        raise CheckpointError(
            f"the training data of {directory.name} have changed since its checkpoint: its order"
            " and loss would not continue. Put the old file back, or start a new run."
        )


def _execute(session: Session, console: Console) -> ExitCode:
    """Train, and write how it ended into the log before anything else can go wrong."""
    planned = session.plan
    predicted = planned.prediction.peak_bytes if planned.prediction else 0
    try:
        log = EventLog(
            session.directory / "events.jsonl",
            run=session.directory.name,
            clock=SystemClock(),
            attempt=session.attempt,
        )
    except LogError as error:
        raise CheckpointError(str(error)) from None
    with log:
        with StopRequest() as stop, Terminal(console, planned.steps, predicted) as terminal:
            end = _train_and_end(session, log, terminal, stop)
        summary = summary_of(end, planned, session.directory, session.state, session.history)
        show(console, summary)
    if end.error is not None:
        raise end.error
    return ExitCode.OK


def _train_and_end(session: Session, log: EventLog, terminal: Terminal, stop: StopRequest) -> End:
    keeper = session.keeper()
    try:
        job, recorder = _job(session, keeper, log, terminal, stop)
        terminal.begin(session.plan, session.directory.name)
        _announce(session, log, recorder)
        train(job)
        if session.state.step == session.plan.steps:
            recorder.saved(session.state, keeper.finish())
            end = End("finished", f"all {session.plan.steps} steps are done")
            end.model = keeper.output
        else:
            end = End("stopped", f"asked to stop by {stop.reason}")
    except BaseException as error:  # logged here, raised again by the caller
        end = describe_error(error, session.plan)
    summary = end.numbers(session.plan, session.state, session.history)
    log.emit("run.end", session.state.step, status=end.status, reason=end.reason, summary=summary)
    return end


def _job(
    session: Session, keeper: Keeper, log: EventLog, terminal: Terminal, stop: StopRequest
) -> tuple[Job, Recorder]:
    planned, config = session.plan, session.plan.config
    recorder = Recorder(
        log=log,
        display=terminal,
        model=session.model,
        tokenizer=planned.tokenizer,
        evaluator=Evaluator(
            planned.suites,
            config.micro_batch,
            pad_token(planned.tokenizer),
            planned.device,
            planned.autocast,
        ),
        anchor=anchor(
            planned.source,
            session.model,
            session.directory,
            untrained=session.state.step == 0,
        ),
        sampling=_sampling(planned),
        steps=planned.steps,
        history=session.history,
        keeper=keeper,
    )
    job = Job(
        model=session.model,
        optimizer=session.optimizer,
        feed=planned.feed,
        schedule=planned.schedule,
        clip=config.clip,
        eval_every=config.eval_every,
        save_every=planned.save_every,
        device=planned.device,
        autocast=planned.autocast,
        measured_steps=steps_to_measure(planned.steps, planned.heaviest_step),
        observer=recorder,
        stop_requested=stop.requested,
        state=session.state,
    )
    return job, recorder


def _announce(session: Session, log: EventLog, recorder: Recorder) -> None:
    step = session.state.step
    if session.attempt == 0:
        log.emit("run.start", step, **run_start.payload(session.plan, session.model))
    else:
        log.emit("run.resume", step, from_step=step)
    for text in (*session.plan.remarks(), *session.notes):
        recorder.alert("warn", text, step)


def _sampling(planned: Plan) -> Sampling:
    config, encoder = planned.config, planned.encoder
    if config.sample_prompts is not None:
        asked = tuple((prompt, encoder.question_text(prompt)) for prompt in config.sample_prompts)
        return Sampling(asked, config.sample_tokens)
    rows = planned.suites[TASK].rows[:SAMPLED_ROWS]
    texts = [(encoder.question_of(row), encoder.prompt_text(row)) for row in rows]
    return Sampling(tuple(texts), config.sample_tokens)

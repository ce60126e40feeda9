"""The commands of `unfrozen`: serve, train, resume, export, data, import, doctor and more.

Everything heavy is imported inside the commands: `--help` answers at once, and `serve` never loads
PyTorch. Exit codes: see `gpu_runner.errors.ExitCode`.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gpu_runner.cli.console import console_with_libraries, exit_with, exits
from gpu_runner.cli.options import OPTIONS, config_from_options, takes_options
from gpu_runner.config.load import resolve
from gpu_runner.errors import MEANINGS, ExitCode, NotReady, RunnerError, UsageError
from gpu_runner.installed import (
    NAME,
    RUNS_ENV,
    built_page,
    package,
    pip_extra,
    program,
    runs_folder,
    short,
)
from gpu_runner.outgoing import ALLOW
from gpu_runner.text import counted, make_console, printable, signed
from unfrozen.plain import MOST_NAMED_BYTES, read_json
from unfrozen.units import format_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from gpu_runner.config.schema import TrainConfig
    from gpu_runner.data.dataset import EncodedDataset
    from gpu_runner.data.examples import Example
    from gpu_runner.log.import_runs import Imported
    from gpu_runner.log.questions import AnswerPair, Question
    from gpu_runner.log.runs import RunIndex, RunInfo
    from gpu_runner.model.load import Source


EXIT_CODES: Final = f"Exit codes: {', '.join(f'{code} {text}' for code, text in MEANINGS.items())}."


_OFFERED: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
"""Names that a shell takes as they are: it reads what completion offers as if it were typed."""


def run_ids(incomplete: str) -> list[str]:
    """Return, for shell completion, the runs whose id begins so and is safe to type."""
    try:
        names = [entry.name for entry in runs_folder().iterdir() if entry.is_dir()]
    except OSError:
        return []
    offered = (name for name in names if name.startswith(incomplete) and _OFFERED.fullmatch(name))
    return sorted(offered, reverse=True)


Run = Annotated[
    str,
    typer.Argument(help="A run's id, or the path of its directory.", autocompletion=run_ids),
]
Runs = Annotated[
    str | None,
    typer.Option(help=f"Directory of the runs; else {RUNS_ENV}, else {short(runs_folder())}."),
]
AllowPrivate = Annotated[
    bool, typer.Option(ALLOW, help="Hand on what looks like a token or a place, too.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
DeviceName = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TRUST: Final = typer.Option(
    "--trust-remote-code", help="Run Python that the model or suite brings; read it first."
)


def _runs(given: str | None) -> Path:
    """Return the folder of runs that was given, else the default one."""
    return runs_folder() if given is None else Path(given).expanduser()


def run_directory(run: str, runs: str | None) -> Path:
    """Return the directory of a run that was given by its path or by its id."""
    try:
        path = Path(run).expanduser()
        path.stat()  # `is_dir` says no to a name that is none
    except FileNotFoundError:
        return _runs(runs) / run
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{run[:80]!r} is no run ({reason}): give its id or directory.") from None
    if not path.is_dir():
        raise UsageError(f"{path} is a file: give a run, by its id or its directory.")
    return path if path.name not in ("", "..") else path.resolve()  # its name is the run's id


def with_option(
    name: str, kind: Any, default: Any = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return what gives a command one option more."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        own = signature(command)
        more = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        command.__annotations__[name] = kind
        command.__signature__ = own.replace(  # type: ignore[attr-defined]  # what typer reads
            parameters=[*own.parameters.values(), more]
        )
        return command

    return add


_DRY: Final = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print memory, steps, time and disk that it would take; train nothing.",
        rich_help_panel="Options",
    ),
]


@with_option("dry_run", _DRY, default=False)
@takes_options
def train(options: dict[str, Any]) -> None:
    """Fully fine-tune a model: every weight, on your data."""
    if options.pop("dry_run"):
        exit_with(lambda: _show_plan(options))

    def run() -> ExitCode:
        config, console = config_from_options(options), console_with_libraries()
        from gpu_runner.run.fine_tune import fine_tune

        return fine_tune(config, console)

    exit_with(run)


def _show_plan(options: dict[str, Any]) -> ExitCode:
    config, console = config_from_options(options), console_with_libraries()
    from gpu_runner.memory.tracing import predict_by_tracing
    from gpu_runner.plan.data_report import show_reading
    from gpu_runner.plan.plan import check_new, make_plan
    from gpu_runner.plan.report import show_plan
    from gpu_runner.world import World

    check_new(config.out)
    if int(os.environ.get("RANK", "0")) == 0:  # of several under torchrun, one prints for all
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        World(size=ranks).check(config.grad_accum)
        with show_reading(console) as progress:
            plan = make_plan(config, ranks=ranks, trace=predict_by_tracing, progress=progress)
        show_plan(console, plan)
    return ExitCode.OK


@exits
def resume(
    run: Run,
    runs: Runs = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps in all; more than it had extends it, on the schedule of so long a run.",
        ),
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Resume although the model or the data have changed."
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start again at step 0 if no checkpoint is whole.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(help="Directory for the trained model, as given to train; else in the run."),
    ] = None,
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> int:
    """Resume a stopped or killed run, bit for bit as if it had never stopped."""
    console = console_with_libraries()
    from gpu_runner.run.resume import ResumeOptions
    from gpu_runner.run.resume import resume as resume_run

    options = ResumeOptions(trust_remote_code, steps, accept_changes, restart, out)
    return resume_run(run_directory(run, runs), console, options)


@exits
def export(
    run: Run,
    file: Annotated[
        str | None,
        typer.Argument(help="For gguf the file, for hf the directory to write; else in the run."),
    ] = None,
    to: Annotated[str, typer.Option(help="csv, tensorboard, wandb-offline, hf or gguf.")] = "csv",
    type_: Annotated[str, typer.Option("--type", help="For gguf: f16, bf16 or q8_0.")] = "f16",
    dtype: Annotated[
        str | None, typer.Option(help="For hf: fp32 or bf16; else the dtype it was trained in.")
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(help="For hf, gguf: the checkpoint of this step."),
    ] = None,
    ema: Annotated[
        bool, typer.Option("--ema", help="For hf, gguf: the moving average of the weights.")
    ] = False,
    runs: Runs = None,
) -> int:
    """Export a run's metrics for other tools, its model for transformers (hf) or as GGUF.

    Needs no PyTorch for csv.
    """
    directory = run_directory(run, runs)
    if to == "hf":
        console_with_libraries()
        from gpu_runner.run.export_model import export_model

        place = Path(file).expanduser() if file else None
        for text in export_model(directory, place, dtype, step, ema=ema).sentences():
            typer.echo(printable(text))
        return ExitCode.OK
    if to == "gguf":
        console_with_libraries()
        from gpu_runner.run.export_model import export_gguf

        written = Path(file).expanduser() if file else directory / "export" / "model.gguf"
        for text in export_gguf(directory, written, type_, step, ema=ema).sentences():
            typer.echo(printable(text))
        return ExitCode.OK
    from gpu_runner.log.export_metrics import export_metrics

    typer.echo(printable(str(export_metrics(directory, to))))
    return ExitCode.OK


@exits
def push(
    run: Run,
    name: Annotated[str, typer.Argument(help="Its name on the hub: OWNER/NAME, or NAME.")],
    step: Annotated[int | None, typer.Option(help="Upload the checkpoint of this step.")] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it; else it is private.")
    ] = False,
    private: AllowPrivate = False,
    runs: Runs = None,
) -> int:
    """Upload a run's model, or a directory that blend or export wrote, to the Hugging Face hub."""
    console_with_libraries()
    from gpu_runner.run.export_model import push_model

    place = run_directory(run, runs)
    typer.echo(printable(push_model(place, name, step, public=public, private=private)))
    return ExitCode.OK


@exits
def ask(
    run: Run,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="What to ask; left out: a prompt a line, from stdin, as JSON with --json."
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(help="Ask the checkpoint of this step.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="<run[@step]>",
            help="Compare with another run or checkpoint; else with θ₀, the model before.",
            autocompletion=run_ids,
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 64,
    temperature: Annotated[
        float, typer.Option(help="0: greedy; else sample at this temperature.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a prompt.")] = False,
    device: DeviceName = "auto",
    runs: Runs = None,
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> int:
    """Put one prompt to the model before and after a run: two answers."""
    from gpu_runner.log.questions import Question

    place, other = run_directory(run, runs), _run_at_step(against, runs)
    usual = Question(prompt or "", tokens, temperature, seed)
    if prompt is not None:
        usual.check()
    console = make_console()

    def choose() -> Callable[[Question], AnswerPair]:
        if step is None and other is None and (live := _ask_live(place)):
            return live
        from gpu_runner.plan.machine import choose_device
        from gpu_runner.run.run_models import load_pair

        shown, trusted = console_with_libraries(), trust_remote_code
        with shown.status("loading both models"):
            return load_pair(place, step, other, choose_device(device), trusted=trusted).ask

    answer = _ask_newest([(place, step), *([other] if other else [])], choose)
    if prompt is not None:
        _print_answers(console, answer(usual), as_json=as_json)
        return ExitCode.OK
    for line in _lines():
        try:
            question = Question.read(line, usual) if as_json else replace(usual, prompt=line)
            _print_answers(console, answer(question), as_json=as_json)
        except RunnerError as error:
            text = json.dumps({"error": str(error)}) if as_json else f"Error: {error}"
            typer.echo(printable(text), err=not as_json)
    return ExitCode.OK


def _print_answers(console: Console, answers: AnswerPair, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answers.as_json()))
    else:
        answers.show(console)


def _ask_newest(
    asked: Sequence[tuple[Path, int | None]], choose: Callable[[], Callable[[Question], AnswerPair]]
) -> Callable[[Question], AnswerPair]:
    """Return what asks the newest models: chosen and loaded again where a run has gone on since."""
    from gpu_runner.log.tail import LOG_NAME, writer_alive
    from gpu_runner.run.directory import read_saved

    def look() -> list[Any]:
        logs = [run / LOG_NAME for run, _ in asked]
        alive = [log.is_file() and writer_alive(log) for log in logs]
        return [*alive, *(read_saved(*each) for each in asked)]

    seen = look()
    chosen: Callable[[Question], AnswerPair] | None = choose()

    def answer(question: Question) -> AnswerPair:
        nonlocal seen, chosen
        if (now := look()) != seen or chosen is None:
            chosen = None  # its models leave memory before others come
            seen, chosen = now, choose()
        return chosen(question)

    return answer


def _ask_live(place: Path) -> Callable[[Question], AnswerPair] | None:
    """Return what asks a run that trains, through its commands; None where it does not train."""
    from gpu_runner.log.questions import AnswerPair, post_question, wait_for_answer
    from gpu_runner.log.runs import read_summary
    from gpu_runner.log.tail import LOG_NAME, writer_alive

    log = place / LOG_NAME
    if not log.is_file() or not writer_alive(log):
        return None
    summary = read_summary(log)
    if isinstance(summary, str):
        return None

    def answer(question: Question) -> AnswerPair:
        written = log.stat().st_size
        seq = post_question(place, place.name, summary.attempt, question).ask
        return AnswerPair.of(wait_for_answer(log, seq, written, ANSWER_SECONDS), place.name)

    return answer


def _run_at_step(text: str | None, runs: str | None) -> tuple[Path, int | None] | None:
    """Return the directory of a run and the step of "RUN@STEP". Raises `UsageError`."""
    if text is None:
        return None
    run, at, step = text.rpartition("@")
    if not at:
        return run_directory(text, runs), None
    if not step.isdecimal():
        raise UsageError(f"--against {text}: {step!r} is no step: give RUN or RUN@STEP.")
    return run_directory(run, runs), int(step)


def _lines() -> Iterator[str]:
    """Yield the lines of stdin that are not empty."""
    while True:
        if sys.stdin.isatty():
            typer.echo("> ", nl=False, err=True)
        if not (line := sys.stdin.readline()):
            return
        if line.strip():
            yield line.rstrip("\n")


@exits
def blend(
    run: Run,
    alpha: Annotated[
        float | None,
        typer.Option(help="Write this blend: 0 is the model before, 1 the trained one."),
    ] = None,
    points: Annotated[int, typer.Option(help="Blends to score, from 0 to 1.")] = 11,
    step: Annotated[int | None, typer.Option(help="Blend the checkpoint of this step.")] = None,
    last: Annotated[
        int | None,
        typer.Option(help="Blend the mean of so many newest checkpoints."),
    ] = None,
    ema: Annotated[
        bool, typer.Option("--ema", help="Blend the moving average of the weights.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(help="Directory for the blended model; else blend/ in the run.")
    ] = None,
    as_json: AsJson = False,
    device: DeviceName = "auto",
    runs: Runs = None,
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> int:
    """Win back what a run lost: score blends with the model before, and write the best one."""
    console = console_with_libraries()
    from gpu_runner.plan.machine import choose_device
    from gpu_runner.run.blend import BlendOptions, show_blend
    from gpu_runner.run.blend import blend as blend_models

    written = Path(out).expanduser() if out else None
    options = BlendOptions(step, points, alpha, written, last, ema)
    place, where = run_directory(run, runs), choose_device(device)
    with console.status("loading both models") as status:

        def report(scored: str) -> None:
            status.update(f"scoring {scored}")

        found = blend_models(place, options, where, trusted=trust_remote_code, report=report)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        show_blend(console, found)
    return ExitCode.OK if found.model else ExitCode.NO_GAIN


@exits
def eval_(
    logs: Annotated[
        list[Path],
        typer.Argument(help="Folders that lm_eval --log_samples wrote: before, then after."),
    ],
    as_json: AsJson = False,
) -> int:
    """Compare models by sample logs of lm-evaluation-harness: same examples, with intervals."""
    from gpu_runner.log.sample_logs import judge, show_judgement

    found = judge([place.expanduser() for place in logs])
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        show_judgement(make_console(), found)
    return ExitCode.OK


eval_.__name__ = "eval"  # the word that is typed, which Python has taken


@exits
def doctor(runs: Runs = None) -> int:
    """Check what is installed, which device is there, what is missing and how to get it."""
    from gpu_runner.machine.doctor import check_machine, print_outcomes

    return print_outcomes(make_console(), check_machine(_runs(runs)))


@exits
def selftest(device: DeviceName = "auto") -> int:
    """Test whether this machine computes correctly: every path, in under two minutes."""
    console = console_with_libraries()
    from gpu_runner.machine.selftest import run

    return run(console, device)


@exits
def serve(
    runs: Runs = None,
    port: Annotated[int, typer.Option(help="Port on the loopback address.")] = 8765,
    site: Annotated[Path | None, typer.Option(help="Folder of another built page.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    allow_control: Annotated[
        bool,
        typer.Option("--allow-control", help="Let the page pause, save, stop and resume runs."),
    ] = False,
) -> int:
    """Serve the page and the runs on one loopback address. Needs no PyTorch."""
    from gpu_runner.serve.app import run_server

    return run_server(
        runs=_runs(runs),
        site=built_page(site),
        port=port,
        host=host,
        open_page=not no_open,
        allow_control=allow_control,
    )


@exits
def mcp(runs: Runs = None) -> int:
    """Serve plans and runs to an agent over stdin and stdout: the Model Context Protocol."""
    if find_spec("mcp") is None:
        raise NotReady(f"this needs mcp, not installed here: {pip_extra('mcp')}")
    from gpu_runner.cli.plan import read_lengths
    from gpu_runner.serve.mcp import make_tools, serve

    serve(make_tools(lambda run, place: run_directory(run, place or runs), read_lengths))
    return ExitCode.OK


@exits
def skill(
    folder: Annotated[
        Path, typer.Argument(help="The agent's folder of skills.", show_default=False)
    ] = Path("~/.claude/skills"),
    install: Annotated[
        bool, typer.Option("--install", help="Write it there; else print it.")
    ] = False,
) -> int:
    """Teach an agent these commands: a skill, for ~/.claude/skills or another folder."""
    from gpu_runner import atomic

    text = (package() / "skill" / "SKILL.md").read_text("utf-8")
    if not install:
        typer.echo(printable(text, lines=True), nl=False)
        return ExitCode.OK
    place = folder.expanduser() / NAME
    atomic.publish(
        place,
        lambda inside: atomic.write_file(inside / "SKILL.md", text),
        private=False,
        of="skill",
    )
    typer.echo(printable(f"{short(place)} is there: an agent reads it when it starts."))
    return ExitCode.OK


@exits
def list_runs(
    runs: Runs = None,
    as_json: AsJson = False,
    delete: Annotated[
        list[str] | None,
        typer.Option("--delete", metavar="RUN", help="Delete a run that has ended, for good."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking for its name.")] = False,
) -> int:
    """List the runs as the page does, or delete one. Needs no PyTorch."""
    from gpu_runner.log.runs import RunIndex
    from gpu_runner.log.writer import SystemClock

    place = _runs(runs)
    index = RunIndex(place, SystemClock())
    for name in delete or ():
        _delete_run(index, name, asks=not yes)
    if delete:
        return ExitCode.OK
    infos = index.infos()
    if as_json:
        typer.echo(json.dumps([info.as_json() for info in infos], indent=2))
    else:
        _print_runs(infos, place)
    return ExitCode.OK


def _delete_run(index: RunIndex, name: str, *, asks: bool) -> None:
    """Delete a run, once its name was typed. Raises `UsageError` for one that must stay."""
    folder = index.ended_run(name)
    files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    size = format_bytes(sum(path.lstat().st_size for path in files))
    if asks:
        typer.echo(f"{short(folder)}: {counted(len(files), 'file')}, {size}, deleted for good.")
        if typer.prompt("Type the name of the run to delete it") != name:
            raise UsageError("Nothing was deleted: that is another name.")
    shutil.rmtree(folder)
    typer.echo(printable(f"Deleted {name}, {size}."))


list_runs.__name__ = "runs"


def _print_runs(infos: Sequence[RunInfo], place: Path) -> None:
    if not infos:
        typer.echo(f"There are no runs in {short(place)}.")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("run", "state", "model", "step", "task", "general"):
        folds = name in ("run", "model")
        table.add_column(name, overflow="fold", no_wrap=not folds, min_width=6 if folds else None)
    for info in (info for info in infos if not info.problem):
        steps = f"{info.step:,}" + (f"/{info.steps:,}" if info.steps else "")
        scores = [_score(info.task), _score(info.general)]
        texts = [info.id, info.status, info.model, steps, *scores]
        table.add_row(*(Text(printable(text)) for text in texts))
    width = None if sys.stdout.isatty() else WIDE
    make_console(width=width).print(table)
    for info in (info for info in infos if info.problem):
        typer.echo(printable(f"{info.id}: {info.problem}".removeprefix(": ")))


def _score(score: dict[str, Any] | None) -> str:
    """Return a held-out loss with its change since the first one."""
    if score is None:
        return ""
    change = f" ({signed(float(score['delta']))})" if "delta" in score else ""
    return f"{float(score['loss']):.3f}{change}"


@exits
def check(run: Run, runs: Runs = None, as_json: AsJson = False) -> int:
    """Say how a run stands, what looks wrong, which checkpoint to take. Needs no PyTorch."""
    from gpu_runner.log.check_run import check_run, check_text

    found = check_run(run_directory(run, runs), time.time())
    typer.echo(json.dumps(found) if as_json else check_text(found))
    return ExitCode.OK


@exits
def report(
    run: Run,
    runs: Runs = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="Folder to save the line in.")] = None,
) -> int:
    """Report what a run measured in one line, for the record. Needs no PyTorch."""
    from gpu_runner import atomic
    from gpu_runner.log.report import file_name, report_run

    found = report_run(run_directory(run, runs))
    typer.echo(json.dumps(found, indent=None if as_json else 2))
    if out is not None:
        file = out.expanduser() / file_name(found)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_file(file, f"{json.dumps(found)}\n")
        except OSError as error:
            raise atomic.write_failure(file, error) from error
    elif not as_json:
        typer.echo("Nothing else is reported. --out FOLDER saves it as one line.", err=True)
    return ExitCode.OK


@exits
def publish(
    run: Annotated[list[str], typer.Argument(help="Runs that have ended: ids or directories.")],
    out: Annotated[Path, typer.Option(help="Its folder: a new one, or an older copy.")] = Path(
        "published"
    ),
    runs: Runs = None,
    site: Annotated[Path | None, typer.Option(help="Folder of another built page.")] = None,
    private: AllowPrivate = False,
) -> int:
    """Copy the page with these runs in it, for any static host. Needs no PyTorch."""
    from gpu_runner.serve.publish import publish as freeze

    directories = [run_directory(each, runs) for each in run]
    for done in freeze(directories, built_page(site), out.expanduser(), package(), private=private):
        counts = {"damaged line": done.damaged, "unknown key": done.left_out}
        lost = "".join(f", {counted(n, what)} left out" for what, n in counts.items() if n)
        typer.echo(printable(f"{done.run}: {counted(done.events, 'event')}{lost}"))
        if done.traces:
            named = ", ".join(done.traces[:MOST_TRACES])
            typer.echo(printable(f"  It still names {named}: look whether that may be public."))
    where = f"runs/?recording={done.file}"
    typer.echo(printable(f"{short(out)} is a site for any static host; the last run is at {where}"))
    return ExitCode.OK


MOST_TRACES: Final = 5
WIDE: Final = 120
"""Columns of a table in a file or a pipe."""
ANSWER_SECONDS: Final = 120.0
"""The patience with a run that trains: it answers between two steps."""
MOST_SHOWN: Final = 10_000
_SCORED: Final = 64
"""Examples that are scored where the weights are on this machine."""
SCORING_SECONDS: Final = 30.0
"""The time for scoring them, where their number was not asked for."""


def _help(name: str) -> str:
    return OPTIONS[name][1].rstrip(".") + "."


@exits
def data(
    file: Annotated[str, typer.Argument(help="Data as --data of `train` takes it.")],
    model: Annotated[str | None, typer.Option(help=_help("model"))] = None,
    eval_data: Annotated[
        str | None, typer.Option(help="Held-out data, to count examples in both.")
    ] = None,
    chat_template: Annotated[str | None, typer.Option(help=_help("chat_template"))] = None,
    train_on: Annotated[str | None, typer.Option(help=_help("train_on"))] = None,
    seq_len: Annotated[int | None, typer.Option(help=_help("seq_len"))] = None,
    micro_batch: Annotated[int | None, typer.Option(help=_help("micro_batch"))] = None,
    rows: Annotated[int, typer.Option(help="Examples to print in full.")] = 3,
    score: Annotated[
        int | None,
        typer.Option(
            help="Examples to score; else 64 or what 30 s allow; 0 if it must be downloaded."
        ),
    ] = None,
    as_json: AsJson = False,
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> int:
    """Show what of your data is trained on: tokens, ends, lengths, duplicates; train nothing."""
    for name, value in (("rows", rows), ("score", score or 0)):
        if not 0 <= value <= MOST_SHOWN:
            raise UsageError(
                f"--{name} {value} is out of bounds: give a number from 0 to {MOST_SHOWN:,}."
            )
    given = {
        "model": model,
        "data": file,
        "eval_data": eval_data,
        "chat_template": chat_template,
        "train_on": train_on,
        "seq_len": seq_len,
        "micro_batch": micro_batch,
        "trust_remote_code": trust_remote_code,
    }
    return _show_data(resolve(given), rows, score, as_json=as_json)


def _show_data(config: TrainConfig, rows: int, score: int | None, *, as_json: bool) -> ExitCode:
    console = console_with_libraries()
    from gpu_runner.data import run_data
    from gpu_runner.model.load import find, load_tokenizer
    from gpu_runner.plan import data_report
    from gpu_runner.run import payloads

    source = find(config.model, trusted=config.trust_remote_code)
    tokenizer = load_tokenizer(source)
    encoder = run_data.make_encoder(config, tokenizer)
    with data_report.show_reading(console) as progress:
        found = run_data.load_all(config, encoder, progress)
        shared = run_data.count_shared(config, encoder, found, progress)
    many = score if score is not None else 0 if source.kind == "hub" else _SCORED
    if as_json:
        data = payloads.describe_rows(config, found, encoder)
        data |= {"file": config.data, "model": source.name, "held_out": shared}
        data["first"] = payloads.first_examples(found, encoder, rows)
        if many:
            losses = _score_data(console, config, source, tokenizer, found, score)
            data["scored"] = payloads.rank_examples(found, encoder, losses, 0)
        typer.echo(json.dumps(data))
        return ExitCode.OK
    settings = _generation_config(source)
    data_report.show_data(console, config, found, encoder, tokenizer, settings, shared)
    data_report.show_examples(console, found, encoder, rows)
    if many:
        losses = _score_data(console, config, source, tokenizer, found, score)
        data_report.show_losses(console, found, encoder, [(n, loss) for loss, n in losses])
        if len(losses) < (most := min(many, len(found.examples))):
            console.print(
                f"That is what fits into {SCORING_SECONDS:.0f} s; --score {most} scores more."
            )
    elif score is None:
        console.print("\nGive --score 64 to download the model too and see its hardest examples.")
    return ExitCode.OK


def _score_data(
    console: Console,
    config: TrainConfig,
    source: Source,
    tokenizer: Any,
    found: EncodedDataset,
    asked: int | None,
) -> list[tuple[float, int]]:
    """Return (loss, index) of some examples, or of what fits into SCORING_SECONDS."""
    from gpu_runner.data.encode import pad_token
    from gpu_runner.model.load import load
    from gpu_runner.plan.data_report import show_reading
    from gpu_runner.plan.machine import choose_device
    from gpu_runner.train.evaluate import example_losses
    from unfrozen.training_data import spread

    device = choose_device(config.device)
    chosen = list(spread(len(found.examples), _SCORED if asked is None else asked))
    examples: Sequence[Example] = [found.examples[index] for index in chosen]
    with console.status(f"loading {source.name}"):
        weights = load(source, tokenizer, config.params, device)
    with show_reading(console) as progress:

        def scored(share: float) -> None:
            progress("scoring examples", share, round(share * len(chosen)))

        limit = SCORING_SECONDS if asked is None else math.inf
        pad = pad_token(tokenizer)
        losses = example_losses(weights, examples, pad, device, seconds=limit, progress=scored)
    return [(loss, n) for n, loss in zip(chosen, losses, strict=True) if loss is not None]


def _generation_config(source: Source) -> Any:
    """Return the model's generation_config.json; {} where it has none."""
    try:
        return read_json(Path(source.place, "generation_config.json"), MOST_NAMED_BYTES, links=True)
    except (OSError, ValueError):
        return {}


MOST_NAME: Final = 200
"""Characters of a run's name."""


@exits
def import_(
    path: Annotated[
        Path,
        typer.Argument(help="trainer_state.json, event files, a CSV; or their folder."),
    ],
    runs: Runs = None,
    name: Annotated[str, typer.Option(help="Name in the page; else that of its folder.")] = "",
) -> int:
    """Import runs of Hugging Face Trainer, TensorBoard or tables for the page. Needs no PyTorch."""
    from gpu_runner.log.import_runs import import_runs

    if len(name) > MOST_NAME:
        raise UsageError(f"--name has {len(name):,} characters: give at most {MOST_NAME}.")
    place = _runs(runs)
    done = []
    for found in import_runs(path.expanduser(), place, name):
        _print_imported(found)
        done.append(found)
    if all(found.problem for found in done):
        return ExitCode.DATA
    served = "" if runs is None else f" --runs {short(Path(runs))}"
    typer.echo(
        f"To see {'it' if len(done) == 1 else 'them'} in the page: {program()} serve{served}"
    )
    return ExitCode.OK


import_.__name__ = "import"  # the word that is typed, which Python has taken


def _print_imported(found: Imported) -> None:
    if found.problem or found.run is None or found.directory is None:
        typer.secho(f"Error: {printable(found.problem)}.", err=True, fg="red")
        return
    run = found.run
    size = f"{counted(run.points.count, 'number')} up to step {run.last_step:,}"
    what = size if found.is_new else "imported before, nothing has changed"
    typer.echo(printable(f"{short(found.directory)}: {what}, from {_origin(found)}"))
    for note in run.notes:
        typer.echo(printable(f"  {note}"))


def _origin(found: Imported) -> str:
    first, more = found.files[0], len(found.files) - 1
    return f"{first}{f' and {more} more' if more else ''}"


COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    serve,
    train,
    resume,
    export,
    push,
    ask,
    blend,
    eval_,
    doctor,
    selftest,
    data,
    list_runs,
    check,
    report,
    mcp,
    skill,
    import_,
    publish,
)
"""All commands of the runner; `plan` is the planner's."""

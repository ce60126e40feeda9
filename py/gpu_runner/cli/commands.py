"""What the command line can do: train, resume, export, doctor, selftest, bench, trace, serve.

Everything heavy is imported inside the commands: `--help` answers at once, and `serve` never loads
PyTorch. Exit codes: see `gpu_runner.errors.ExitCode`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gpu_runner.cli.exits import exit_with
from gpu_runner.cli.loading import console_with_libraries
from gpu_runner.config.options import configuration, takes_options
from gpu_runner.errors import (
    MEANINGS,
    ExitCode,
)
from gpu_runner.installed import RUNS_ENV, built_page, runs_folder, short

EXIT_CODES: Final = f"Exit codes: {', '.join(f'{code} {text}' for code, text in MEANINGS.items())}."


def run_ids(incomplete: str) -> list[str]:
    """For the shell's completion: the runs whose id begins like this, the newest first."""
    try:
        names = [entry.name for entry in runs_folder().iterdir() if entry.is_dir()]
    except OSError:
        return []
    return sorted((name for name in names if name.startswith(incomplete)), reverse=True)


Run = Annotated[
    str,
    typer.Argument(help="A run's id, or the path of its directory.", autocompletion=run_ids),
]
Runs = Annotated[
    str | None,
    typer.Option(help=f"Directory of the runs; else {RUNS_ENV}, else {short(runs_folder())}."),
]
DeviceName = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
TRUST: Final = typer.Option("--trust-remote-code", help="Run Python files that the model brings.")


def may_be_dry(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with `--dry-run`."""
    text = "Say what it would take: memory, steps, time, disk. Nothing is run."
    kind = Annotated[bool, typer.Option("--dry-run", help=text, rich_help_panel="Yes or no")]
    own = signature(command)
    dry = Parameter("dry_run", Parameter.KEYWORD_ONLY, default=False, annotation=kind)
    command.__annotations__["dry_run"] = kind
    command.__signature__ = own.replace(  # type: ignore[attr-defined]  # what typer reads
        parameters=[*own.parameters.values(), dry]
    )
    return command


@may_be_dry
@takes_options
def train(options: dict[str, Any]) -> None:
    """Fully fine-tune a model: every weight, on your data."""
    if options.pop("dry_run"):
        exit_with(lambda: _show_plan(options))

    def run() -> ExitCode:
        config, console = configuration(options), console_with_libraries()
        from gpu_runner.run.start import start

        return start(config, console)

    exit_with(run)


def _show_plan(options: dict[str, Any]) -> ExitCode:
    config, console = configuration(options), console_with_libraries()
    from gpu_runner.memory.tracing import predict_by_tracing
    from gpu_runner.plan import plan
    from gpu_runner.plan.shown import table
    from gpu_runner.plan.shown.reading import reading
    from gpu_runner.world import World

    plan.check_new(config.out)
    if int(os.environ.get("RANK", "0")) == 0:  # of several under torchrun, one says it for all
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        World(size=ranks).check(config.grad_accum)
        with reading(console) as watch:
            planned = plan.make(config, ranks=ranks, trace=predict_by_tracing, watch=watch)
        table.show_plan(console, planned)
    return ExitCode.OK


def resume(
    run: Run,
    runs: Runs = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="<number>",
            help="Go on to this step in all, also after the end: by the schedule of such a run.",
        ),
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Although model or data are not what they were."),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again at step 0, if no checkpoint is whole.")
    ] = False,
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> None:
    """Go on with a stopped or killed run, bit by bit as if nothing had happened."""

    def go() -> ExitCode:
        console = console_with_libraries()
        from gpu_runner.run.resuming import Wish
        from gpu_runner.run.resuming import resume as resume_run

        wish = Wish(trust_remote_code, steps, accept_changes, restart)
        return resume_run(run_directory(run, runs), console, wish)

    exit_with(go)


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="csv, tensorboard, wandb-offline or hf.")] = "csv",
    dtype: Annotated[
        str | None, typer.Option(help="Of hf: fp32 or bf16; else as it was trained.")
    ] = None,
    step: Annotated[
        int | None, typer.Option(metavar="<number>", help="Of hf: the checkpoint of this step.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Of hf: where; else into the run.")] = None,
    runs: Runs = None,
) -> None:
    """A run's numbers for other tools, or its model for transformers (hf), beside its log.

    Needs no PyTorch for csv.
    """

    def go() -> ExitCode:
        directory = run_directory(run, runs)
        if to == "hf":
            from gpu_runner.run.export import export as write_model

            place = Path(out).expanduser() if out else None
            typer.echo(write_model(directory, place, dtype, step).path)
            return ExitCode.OK
        from gpu_runner.log.export import export as write

        typer.echo(write(directory, to))
        return ExitCode.OK

    exit_with(go)


def doctor(runs: Runs = None) -> None:
    """What is installed, which device is there, what is missing, and what to type about it."""

    def go() -> ExitCode:
        from rich.console import Console

        from gpu_runner.doctor import examine, show

        return show(Console(highlight=False), examine(_runs(runs)))

    exit_with(go)


def selftest(
    device: DeviceName = "auto",
    report: Annotated[
        Path | None,
        typer.Option(help="Also write it, to send: a name that ends in .json or .md."),
    ] = None,
) -> None:
    """Whether this machine computes what it should: every path, in under two minutes."""

    def go() -> ExitCode:
        console = console_with_libraries()
        from gpu_runner.selftest.walk import run

        return run(console, device, report)

    exit_with(go)


def bench(
    device: DeviceName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
) -> None:
    """What this machine trains: speed, MFU and memory of three sizes, rows and packed."""

    def go() -> ExitCode:
        console = console_with_libraries()
        from gpu_runner.bench import run

        return run(console, device, as_json=as_json)

    exit_with(go)


def trace(
    job: Annotated[str, typer.Argument(help="A planner's job or a list of them; - reads stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One row a job, as JSON.")] = False,
) -> None:
    """What one step of a job holds, traced tensor by tensor, beside the plan. Nothing is run."""

    def run() -> ExitCode:
        console = console_with_libraries()
        from gpu_runner.memory import trace_report

        trace_report.run(job, as_json=as_json, console=console)
        return ExitCode.OK

    exit_with(run)


def serve(
    runs: Runs = None,
    port: Annotated[int, typer.Option(help="Port on the loopback address.")] = 8765,
    site: Annotated[
        Path | None, typer.Option(help="Another built page than the one that came along.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    allow_control: Annotated[
        bool,
        typer.Option("--allow-control", help="Let the page start, pause, save and stop runs."),
    ] = False,
    recipes: Annotated[
        Path | None,
        typer.Option(help="Folder of run.toml files that the page may start, beside the demo."),
    ] = None,
) -> None:
    """The page and the runs on one loopback address. Needs no PyTorch."""
    from gpu_runner.serve.app import run_server

    def go() -> int:
        return run_server(
            runs=_runs(runs),
            site=built_page(site),
            port=port,
            host=host,
            open_page=not no_open,
            allow_control=allow_control,
            recipes=recipes.expanduser() if recipes else None,
        )

    exit_with(go)


COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    serve,
    train,
    resume,
    export,
    doctor,
    selftest,
    bench,
    trace,
)
"""All commands of the runner; `plan` is the planner's."""


def _runs(given: str | None) -> Path:
    """The folder of runs that was given, else the usual one."""
    return runs_folder() if given is None else Path(given).expanduser()


def run_directory(run: str, runs: str | None) -> Path:
    """The directory of a run that was given by its path or by its id."""
    path = Path(run).expanduser()
    if not path.is_dir():
        return _runs(runs) / run
    return path if path.name not in ("", "..") else path.resolve()  # its name is the run's id

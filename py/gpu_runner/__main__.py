"""`python -m gpu_runner train | plan | resume | serve | export | doctor | selftest | trace`.

Everything heavy is imported inside the commands: `--help` answers at once, and `serve` never loads
PyTorch. Exit codes: see `gpu_runner.errors.ExitCode`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gpu_runner.errors import (
    MEANINGS,
    ExitCode,
    RunnerError,
    SystemFailure,
    UsageError,
    is_out_of_memory,
)
from gpu_runner.options import configuration, takes_options

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Full fine-tuning of language models, streamed to the page as it happens.",
    epilog="Exit codes: " + ", ".join(f"{code} {text}" for code, text in MEANINGS.items()) + ".",
)

Runs = Annotated[str, typer.Option(help="Directory that holds the runs.")]


@app.command()
@takes_options
def train(options: dict[str, Any]) -> None:
    """Fully fine-tune a model: every weight, on your data."""

    def run() -> ExitCode:
        config, console = configuration(options), _console()
        from gpu_runner.session import start

        return start(config, console)

    _exit(run)


@app.command()
@takes_options
def plan(options: dict[str, Any]) -> None:
    """The same arguments as train: predicted memory, steps, time and disk. Nothing is run."""

    def run() -> ExitCode:
        config, console = configuration(options), _console()
        from gpu_runner.plan import check_new, make
        from gpu_runner.plan_table import show_plan

        check_new(config.out)
        show_plan(console, make(config))
        return ExitCode.OK

    _exit(run)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="A run's id, or the path of its directory.")],
    runs: Runs = "runs",
) -> None:
    """Go on with a stopped or killed run, bit by bit as if nothing had happened."""

    def go() -> ExitCode:
        console = _console()
        from gpu_runner.session import resume as resume_run

        return resume_run(_run_directory(run, runs), console)

    _exit(go)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run's id, or the path of its directory.")],
    to: Annotated[str, typer.Option(help="csv, tensorboard or wandb-offline.")] = "csv",
    runs: Runs = "runs",
) -> None:
    """A run's numbers for other tools, written beside its log. Needs no PyTorch for csv."""

    def go() -> ExitCode:
        from gpu_runner.export import export as write

        typer.echo(write(_run_directory(run, runs), to))
        return ExitCode.OK

    _exit(go)


@app.command()
def doctor(runs: Runs = "runs") -> None:
    """What is installed, which device is there, what is missing, and what to type about it."""

    def go() -> ExitCode:
        from gpu_runner.doctor import examine, show

        return show(Console(highlight=False), examine(Path(runs).expanduser()))

    _exit(go)


@app.command()
def selftest(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Whether this machine computes what it should: six checks in under a minute."""

    def go() -> ExitCode:
        console = _console()
        from gpu_runner.selftest import run

        return run(console, device)

    _exit(go)


@app.command()
def trace(
    job: Annotated[str, typer.Argument(help="A planner's job or a list of them; - reads stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One row a job, as JSON.")] = False,
) -> None:
    """What one step of a job holds, traced tensor by tensor, beside the plan. Nothing is run."""

    def run() -> ExitCode:
        console = _console()
        from gpu_runner import trace_report

        trace_report.run(job, as_json=as_json, console=console)
        return ExitCode.OK

    _exit(run)


@app.command()
def serve(
    runs: Runs = "runs",
    port: Annotated[int, typer.Option(help="Port on the loopback address.")] = 8765,
    site: Annotated[
        Path | None, typer.Option(help="The built page; dist/ here or beside the package.")
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
    from gpu_runner.serve import run_server

    def go() -> int:
        return run_server(
            runs=Path(runs).expanduser(),
            site=_built_site(site),
            port=port,
            host=host,
            open_page=not no_open,
            allow_control=allow_control,
            recipes=recipes.expanduser() if recipes else None,
        )

    _exit(go)


def _run_directory(run: str, runs: str) -> Path:
    """The directory of a run that was given by its path or by its id."""
    path = Path(run).expanduser()
    if not path.is_dir():
        return Path(runs).expanduser() / run
    return path if path.name not in ("", "..") else path.resolve()  # its name is the run's id


def _built_site(given: Path | None) -> Path:
    """The directory of the built page. Raises `UsageError` that says how to build it."""
    places = [given] if given else [Path("dist"), Path(__file__).parents[2] / "dist"]
    for place in places:
        if (place / "index.html").is_file():
            return place
    raise UsageError(
        f"no built page in {' or '.join(map(str, places))}: `python3 build.py build` makes it,"
        " `python3 build.py serve` makes and serves it."
    )


def _console() -> Console:
    """The terminal, once the libraries behind a run are loaded and settled.

    They read their environment when they are loaded; what the user has set there stays. Our
    progress line is the only one. Threads of PyTorch that wait for each other sleep instead of
    spinning: on a machine that is busy with something else too, a small step on two cores took 3 s
    spinning and 0.1 s sleeping; on an idle one the difference is within the noise.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported: hence before it
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)  # of what torchao brings for other machines
    import transformers

    transformers.utils.logging.set_verbosity_error()
    return Console(highlight=False)


def _exit(command: Callable[[], int]) -> None:
    """Run a command; a mistake of the user becomes one message and its exit code."""
    try:
        code = int(command())
    except RunnerError as error:
        if _speaks(error):
            typer.secho(f"Error: {error}", err=True, fg="red")
        code = error.exit_code
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        code = ExitCode.INTERRUPTED
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        typer.secho(f"Error: out of memory: {error}", err=True, fg="red")
        code = ExitCode.MEMORY
    raise typer.Exit(int(code))


def _speaks(error: RunnerError) -> bool:
    """Whether this process tells: of several under torchrun, not all of them say the same."""
    if os.environ.get("RANK", "0") == "0":
        return True
    first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    return not error.shared and (first_here or isinstance(error, SystemFailure))


def main(arguments: list[str] | None = None) -> Any:
    """Entry point; `arguments` stand for `sys.argv[1:]`."""
    return app(args=arguments if arguments is not None else sys.argv[1:], prog_name="gpu_runner")


if __name__ == "__main__":
    main()

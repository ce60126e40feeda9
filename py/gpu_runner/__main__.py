"""`python -m gpu_runner train | plan | trace | serve | resume`.

Everything heavy is imported inside the commands: `--help` answers at once, and `serve` never loads
PyTorch. Exit codes: see `gpu_runner.errors.ExitCode`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gpu_runner.config import parse_general, resolve
from gpu_runner.errors import ExitCode, RunnerError, UsageError, is_out_of_memory

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Full fine-tuning of language models, streamed to the page as it happens.",
)

Model = Annotated[str, typer.Option(help="demo, a directory, a Hugging Face id, or a .gguf file.")]
Data = Annotated[
    str | None,
    typer.Option(help="demo, instruct, a .jsonl file, or a Hugging Face data set id."),
]
EvalData = Annotated[str | None, typer.Option(help="Held-out rows of the task (.jsonl).")]
General = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FILE: a skill not to forget; repeatable; none measures none."),
]
Steps = Annotated[int | None, typer.Option(help="Optimizer steps.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the data, instead of --steps.")]
Lr = Annotated[float | None, typer.Option(help="Peak learning rate.")]
ScheduleName = Annotated[str | None, typer.Option(help="cosine or constant, after warm-up.")]
Warmup = Annotated[int | None, typer.Option(help="Steps of linear warm-up.")]
MicroBatch = Annotated[int | None, typer.Option(help="Rows computed at once.")]
GradAccum = Annotated[int | None, typer.Option(help="Micro-batches in one optimizer step.")]
SeqLen = Annotated[int | None, typer.Option(help="Longest row in tokens; longer ones are cut.")]
WeightDecay = Annotated[float | None, typer.Option(help="Decoupled decay of matrices.")]
Clip = Annotated[float | None, typer.Option(help="Largest gradient norm; 0 never clips.")]
Seed = Annotated[int | None, typer.Option(help="Order of the data and every random draw.")]
EvalEvery = Annotated[int | None, typer.Option(help="Steps between two evaluations.")]
EvalRows = Annotated[int | None, typer.Option(help="Most rows scored in a held-out set.")]
SaveEvery = Annotated[int | None, typer.Option(help="Steps between checkpoints; 0 never.")]
Params = Annotated[str | None, typer.Option(help="fp32 (16 bytes a parameter) or bf16 (8).")]
Compute = Annotated[str | None, typer.Option(help="auto, fp32 or bf16 matrix products.")]
DeviceName = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")]
SampleTokens = Annotated[int | None, typer.Option(help="Length of samples; 0 for none.")]
Out = Annotated[str | None, typer.Option(help="Where the trained model goes.")]
Runs = Annotated[str, typer.Option(help="Directory that holds the runs.")]


@app.command()
def train(
    model: Model,
    data: Data = None,
    eval_data: EvalData = None,
    general: General = None,
    steps: Steps = None,
    epochs: Epochs = None,
    lr: Lr = None,
    schedule: ScheduleName = None,
    warmup: Warmup = None,
    micro_batch: MicroBatch = None,
    grad_accum: GradAccum = None,
    seq_len: SeqLen = None,
    weight_decay: WeightDecay = None,
    clip: Clip = None,
    seed: Seed = None,
    eval_every: EvalEvery = None,
    eval_rows: EvalRows = None,
    save_every: SaveEvery = None,
    params: Params = None,
    compute: Compute = None,
    device: DeviceName = None,
    sample_tokens: SampleTokens = None,
    out: Out = None,
    runs: Runs = "runs",
) -> None:
    """Fully fine-tune a model: every weight, on your data."""
    options = dict(locals())

    def run() -> ExitCode:
        config = resolve(options | {"general": parse_general(options["general"])})
        _settle_libraries()
        from rich.console import Console

        from gpu_runner.session import start

        return start(config, Console(highlight=False))

    _exit(run)


@app.command()
def plan(
    model: Model,
    data: Data = None,
    eval_data: EvalData = None,
    general: General = None,
    steps: Steps = None,
    epochs: Epochs = None,
    lr: Lr = None,
    schedule: ScheduleName = None,
    warmup: Warmup = None,
    micro_batch: MicroBatch = None,
    grad_accum: GradAccum = None,
    seq_len: SeqLen = None,
    weight_decay: WeightDecay = None,
    clip: Clip = None,
    seed: Seed = None,
    eval_every: EvalEvery = None,
    eval_rows: EvalRows = None,
    save_every: SaveEvery = None,
    params: Params = None,
    compute: Compute = None,
    device: DeviceName = None,
    sample_tokens: SampleTokens = None,
    out: Out = None,
    runs: Runs = "runs",
) -> None:
    """The same arguments as train: predicted memory, steps, tokens and disk. Nothing is run."""
    options = dict(locals())

    def run() -> ExitCode:
        config = resolve(options | {"general": parse_general(options["general"])})
        _settle_libraries()
        from rich.console import Console

        from gpu_runner.plan import make
        from gpu_runner.progress import show_plan

        show_plan(Console(highlight=False), make(config))
        return ExitCode.OK

    _exit(run)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="A run's id, or the path of its directory.")],
    runs: Runs = "runs",
) -> None:
    """Go on with a stopped or killed run, bit by bit as if nothing had happened."""

    def go() -> ExitCode:
        _settle_libraries()
        from rich.console import Console

        from gpu_runner.session import resume as resume_run

        path = Path(run).expanduser()
        directory = path if path.is_dir() else Path(runs).expanduser() / run
        return resume_run(directory, Console(highlight=False))

    _exit(go)


@app.command()
def trace(
    job: Annotated[str, typer.Argument(help="A planner's job or a list of them; - reads stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One row a job, as JSON.")] = False,
) -> None:
    """What one step of a job holds, traced tensor by tensor, beside the plan. Nothing is run."""

    def run() -> ExitCode:
        _settle_libraries()
        from rich.console import Console

        from gpu_runner import trace_report

        trace_report.run(job, as_json=as_json, console=Console(highlight=False))
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
        )

    _exit(go)


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


def _settle_libraries() -> None:
    """Environment that libraries read when they are loaded; what the user has set stays.

    Our progress line is the only one. Threads of PyTorch that wait for each other sleep instead of
    spinning: on a machine that is busy with something else too, a small step on two cores took 3 s
    spinning and 0.1 s sleeping; on an idle one the difference is within the noise.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported: hence before it
    import transformers

    transformers.utils.logging.set_verbosity_error()


def _exit(command: Callable[[], int]) -> None:
    """Run a command; a mistake of the user becomes one message and its exit code."""
    try:
        code = int(command())
    except RunnerError as error:
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


def main(arguments: list[str] | None = None) -> Any:
    """Entry point; `arguments` stand for `sys.argv[1:]`."""
    return app(args=arguments if arguments is not None else sys.argv[1:], prog_name="gpu_runner")


if __name__ == "__main__":
    main()

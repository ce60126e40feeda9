"""One machine's part of a run under a scheduler: begin it, go on with it, or say that it is done.

    python -m gpu_runner.cluster --runs RUNS [--bucket DIR] TORCHRUN OPTIONS -- TRAIN OPTIONS

It is torchrun with two differences. It looks into RUNS first: a run that is there goes on, a
finished one is left alone. And its exit code is that of the run, as a scheduler reads it:

    0    the run is finished: what waits for it may begin
    75   it was stopped by a signal and is not finished: start the same command again
    …    what `unfrozen train` says of its errors; starting again ends the same way

torchrun itself exits with 1 in each of these cases but the first. With a bucket, RUNS is a disk of
this machine, and what a lost machine would take with it is copied while the run goes on.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from gpu_runner.cluster.bucket import FINISHED, fetch_runs, push_runs, runs_in
from gpu_runner.errors import MEANINGS, ExitCode
from gpu_runner.text import printable

GRACE_SECONDS: Final = 900
"""How long torchrun waits for processes that save; whoever stops it may have less patience."""
COPY_SECONDS: Final = 20.0
"""Between the end of one look at what is to be copied and the next."""
_GRACE_ENV: Final = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"


def main(words: list[str]) -> int:
    """Entry point: returns the exit code."""
    options, torchrun, train = _parsed(words)
    if options.bucket and (text := _too_many(torchrun)):
        print(printable(f"Error: {text}"), file=sys.stderr)
        return int(ExitCode.USAGE)
    runs = Path(options.runs).expanduser()
    bucket = Path(options.bucket).expanduser() if options.bucket else None
    try:
        if bucket is not None:
            push_runs(runs, bucket)  # what an attempt on this machine could not bring there
            fetch_runs(bucket, runs)
    except OSError as error:
        return _unreachable(bucket, error)
    if (done := _finished(bucket) or _finished(runs)) is not None:
        print(printable(f"{done} is finished: there is nothing to do."))
        return int(ExitCode.OK)
    run = newest(runs)
    command = ["train", *train, "--runs", str(runs)]
    if run is not None:
        command = ["resume", *output_option(train), str(run)]
    with _copied(runs, bucket, options.copy_every):
        code = _torchrun([*torchrun, "-m", "gpu_runner", *command])
    if _finished(runs):
        code = ExitCode.OK  # the signal came too late to matter
    try:
        if bucket is not None:
            push_runs(runs, bucket)
    except OSError as error:
        return _unreachable(bucket, error)
    return int(code)


def newest(runs: Path) -> Path | None:
    """The run that was begun last."""
    found = runs_in(runs)
    return found[-1] if found else None


def output_option(train: list[str]) -> list[str]:
    """Return the option of `train` that says where the model goes: `resume` is asked it again."""
    last = max((n for n, word in enumerate(train) if word.partition("=")[0] == "--out"), default=-1)
    return train[last : last + (1 if "=" in train[last] else 2)] if last >= 0 else []


def _finished(runs: Path | None) -> Path | None:
    """The newest run there, if it is finished."""
    run = None if runs is None else newest(runs)
    return run if run is not None and (run / FINISHED).exists() else None


def _parsed(words: list[str]) -> tuple[argparse.Namespace, list[str], list[str]]:
    """Our own options, those of torchrun, those of `train`."""
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="python -m gpu_runner.cluster",
        usage="%(prog)s --runs RUNS [--bucket DIR] TORCHRUN OPTIONS -- TRAIN OPTIONS",
        description="torchrun for schedulers: goes on with the run in RUNS, says how it ended.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs", required=True, help="folder of this run alone")
    parser.add_argument("--bucket", help="folder where a bucket is mounted, for copies of RUNS")
    parser.add_argument(
        "--copy-every", type=float, default=COPY_SECONDS, help="seconds between looks for copies"
    )
    options, torchrun = parser.parse_known_args(words[:end])
    return options, torchrun, words[end + 1 :]


def _too_many(torchrun: list[str]) -> str:
    """Why the run cannot be copied to a bucket; "" if it can."""
    from torch.distributed.run import parse_args

    machines = parse_args([*torchrun, "-m", "gpu_runner"]).nnodes
    if machines in ("1", "1:1"):
        return ""
    return (
        f"--bucket with --nnodes {machines}: each machine would write to a disk of its own, and a"
        " run lies in one place. Give --nnodes 1, or --runs on a file system that all machines see"
        " and no --bucket."
    )


def _torchrun(words: list[str]) -> int:
    """Run torchrun in this process; its exit code is that of the run.

    Slurm sends SIGTERM to every process of a step, and again before SIGKILL. A second one makes
    torchrun leave processes that are still saving: they are waited for here.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ.setdefault(_GRACE_ENV, str(GRACE_SECONDS))
    try:
        run(parse_args(words))
    except SignalException as error:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        started = psutil.Process().children(recursive=True)
        psutil.wait_procs(started, timeout=float(os.environ[_GRACE_ENV]))
        stopped = error.sigval != signal.SIGINT
        return ExitCode.STOPPED if stopped else ExitCode.OK
    except ChildFailedError as error:
        return _of_children(error)
    return ExitCode.OK


def _of_children(error: Any) -> int:
    """The exit code of the process that failed first, as a shell would tell it."""
    rank, failure = error.get_first_failure()
    code = int(failure.exitcode)
    code = 128 - code if code < 0 else code
    meaning = MEANINGS.get(ExitCode(code), "") if code in set(ExitCode) else "killed"
    print(f"Process {rank} of the run ended with exit code {code}: {meaning}.", file=sys.stderr)
    return code


@contextmanager
def _copied(runs: Path, bucket: Path | None, every: float) -> Iterator[None]:
    """While this lasts, keep the copies in the bucket up to date."""
    if bucket is None:
        yield
        return
    over = threading.Event()
    copier = threading.Thread(target=_copy, args=(runs, bucket, over, every), daemon=True)
    copier.start()
    try:
        yield
    finally:
        over.set()
        copier.join()


def _copy(runs: Path, bucket: Path, over: threading.Event, every: float) -> None:
    reported = ""
    while not over.wait(every):
        try:
            push_runs(runs, bucket)
            reported = ""
        except OSError as error:  # a bucket is away for a moment: the next round tries again
            if str(error) != reported:
                reported = str(error)
                print(
                    printable(f"{bucket}: the run is not copied at the moment ({reported})."),
                    file=sys.stderr,
                )


def _unreachable(bucket: Path | None, error: OSError) -> int:
    print(
        printable(f"Error: {bucket}: no copy of the run can be kept there ({error}). Check that")
        + " the bucket is mounted there and may be written.",
        file=sys.stderr,
    )
    return int(ExitCode.SYSTEM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

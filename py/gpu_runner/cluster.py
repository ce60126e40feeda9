"""One machine's part of a run under a scheduler: begin it, go on with it, or say that it is done.

    python -m gpu_runner.cluster --runs RUNS TORCHRUN OPTIONS -- TRAIN OPTIONS

It is torchrun with two differences. It looks into RUNS first: a run that is there goes on, a
finished one is left alone. And its exit code is that of the run, as a scheduler reads it:

    0    the run is finished: what waits for it may begin
    75   it was stopped by a signal and is not finished: start the same command again
    …    what `unfrozen train` says of its errors; starting again ends the same way

torchrun itself exits with 1 in each of these cases but the first.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import psutil

from gpu_runner.errors import MEANINGS, ExitCode
from gpu_runner.log.runs import CONFIG_NAME
from gpu_runner.run.directory import FINISHED
from gpu_runner.text import printable

GRACE_SECONDS: Final = 900
"""The time that torchrun gives processes to save; whoever stops it may have less patience."""
_GRACE_ENV: Final = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"


def main(words: list[str]) -> int:
    """Entry point: returns the exit code."""
    runs, torchrun, train = _parsed(words)
    run = newest(runs)
    if run is not None and (run / FINISHED).exists():
        print(printable(f"{run} is finished: there is nothing to do."))
        return int(ExitCode.OK)
    command = ["train", *train, "--runs", str(runs)]
    if run is not None:
        command = ["resume", *output_option(train), str(run)]
    code = _torchrun([*torchrun, "-m", "gpu_runner", *command])
    run = newest(runs)
    if run is not None and (run / FINISHED).exists():
        code = ExitCode.OK  # the signal came too late to matter
    return int(code)


def newest(runs: Path) -> Path | None:
    """Return the run that was begun last: their names begin with the time."""
    found = runs.iterdir() if runs.is_dir() else ()
    return max((path for path in found if (path / CONFIG_NAME).is_file()), default=None)


def output_option(train: list[str]) -> list[str]:
    """Return the option of `train` that says where the model goes: `resume` is asked it again."""
    last = max((n for n, word in enumerate(train) if word.partition("=")[0] == "--out"), default=-1)
    return train[last : last + (1 if "=" in train[last] else 2)] if last >= 0 else []


def _parsed(words: list[str]) -> tuple[Path, list[str], list[str]]:
    """Return the folder of the run, the options of torchrun and those of `train`."""
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="python -m gpu_runner.cluster",
        usage="%(prog)s --runs RUNS TORCHRUN OPTIONS -- TRAIN OPTIONS",
        description="torchrun for schedulers: goes on with the run in RUNS, says how it ended.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs", required=True, help="folder of this run alone")
    options, torchrun = parser.parse_known_args(words[:end])
    return Path(options.runs).expanduser(), torchrun, words[end + 1 :]


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
    """Return the exit code of the process that failed first, as a shell would tell it."""
    rank, failure = error.get_first_failure()
    code = int(failure.exitcode)
    code = 128 - code if code < 0 else code
    meaning = MEANINGS.get(ExitCode(code), "") if code in set(ExitCode) else "killed"
    print(f"Process {rank} of the run ended with exit code {code}: {meaning}.", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

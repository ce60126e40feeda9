"""Watching kills nothing: loops of twelve kinds in four threads, process after process.

    PYTHONPATH=py:tests .venv/bin/python -m tests.bench.watched_threads --seconds 600

Each process trains 250 loops, in turns all of them watched and one thread in four. Its weights and
random numbers are those of the same loops alone, or it fails; a death is a negative exit code.
"""

import argparse
import collections
import os
import subprocess
import sys
import tempfile
import time

from run_process import ROOT

LOOPS = 250


def main() -> int:
    """1 where a process died, or a loop differed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    until = time.monotonic() + parser.parse_args().seconds
    codes: collections.Counter[int] = collections.Counter()
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/py", "OMP_NUM_THREADS": "1"}
    while time.monotonic() < until:
        watchers = 1 if codes.total() % 2 else 4
        with tempfile.TemporaryDirectory() as runs:
            command = [sys.executable, "tests/watched_threads.py", runs, str(LOOPS), str(watchers)]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        codes[done.returncode] += 1
        if done.returncode:
            print(done.stderr[-2000:])
        lost = {code: count for code, count in codes.items() if code}
        print(
            f"  {LOOPS * codes.total():,} loops; processes that failed, by code: {lost}", flush=True
        )
    return int(codes.total() != codes[0])


if __name__ == "__main__":
    raise SystemExit(main())

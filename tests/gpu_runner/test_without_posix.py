"""The runner where Python has no POSIX, as on Windows: a run is made and read without it.

Locks of bytes stand in for `msvcrt.locking`. The libraries are loaded first, since they choose by
the system, which is still Linux.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from house.tree import ROOT

WITHOUT = """
import asyncio, multiprocessing, os, signal, subprocess, sys, types
import accelerate, platformdirs, psutil, starlette, torch, transformers, typer, uvicorn
import torch.distributed.checkpoint.state_dict, torch.distributed.elastic.agent.server
import mcp.server.stdio, transformers.trainer

POSIX = {"fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
for name in POSIX:
    sys.modules.pop(name, None)

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in POSIX:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in ("fork geteuid getuid getgid setsid killpg O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_DIRECTORY"
             " sched_getaffinity mkfifo getloadavg fchmod pread register_at_fork").split():
    delattr(os, name)
for name in "SIGKILL SIGHUP SIGUSR1 SIGALRM SIGCHLD SIGQUIT SIGPIPE pthread_sigmask alarm".split():
    delattr(signal, name)

def locking(file, mode, count):
    try:
        os.lockf(file, os.F_TLOCK, count)
    except BlockingIOError:
        raise PermissionError(13, "Permission denied")

msvcrt = sys.modules["msvcrt"] = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
"""
COMMANDS = """
import importlib
from pathlib import Path
for name in sys.argv[2:]:
    importlib.import_module(name)
from gpu_runner.cli.command_line import main
from gpu_runner.locks import try_lock
from gpu_runner.system import foreign
foreign.limited_here = True  # as on every system but Linux
runs = Path(sys.argv[1])

def typed(*arguments):
    try:
        main([*arguments, "--runs", str(runs)])
    except SystemExit as end:
        assert not end.code, (arguments, end.code)

typed("train", "--model", "demo", "--steps", "2", "--no-compile")
run = next(runs.iterdir())
typed("check", run.name)
typed("resume", run.name, "--steps", "3")
typed("runs")
held = os.open(run / "events.jsonl", os.O_RDWR)
other = os.open(run / "config.json", os.O_RDWR)
assert (try_lock(held), try_lock(other, shared=True)) == (True, True)
assert os.lseek(held, 0, os.SEEK_CUR) == 0
ask = "import os, sys; print(os.lockf(os.open(sys.argv[1], os.O_RDWR), os.F_TEST, 2**31))"
asked = subprocess.run([sys.executable, "-c", ask, run / "events.jsonl"], capture_output=True)
assert b"BlockingIOError" in asked.stderr or b"PermissionError" in asked.stderr, asked
"""


def test_every_module_is_imported_and_a_run_is_made_checked_resumed_and_locked(
    tmp_path: Path,
) -> None:
    package = ROOT / "py" / "gpu_runner"
    files = (file.relative_to(package.parent).with_suffix("") for file in package.rglob("*.py"))
    names = (".".join(file.parts).removesuffix(".__init__") for file in files)
    command = [sys.executable, "-c", WITHOUT + COMMANDS, str(tmp_path / "runs")]
    command += [name for name in names if not name.endswith("__main__")]
    found = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, check=False, env=found)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    printed = done.stdout.decode()
    assert "finished at step 2 of 2" in printed
    assert "3/3" in printed

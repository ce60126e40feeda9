"""The planner runs where Python has no POSIX, as on Windows: it is imported without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from house.tree import ROOT

WITHOUT = """
import importlib, os, signal, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {"resource", "fcntl", "pwd", "grp", "termios", "readline", "torch", "numpy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in ("fork geteuid getuid getgid setsid killpg O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_DIRECTORY"
             " sysconf sched_getaffinity statvfs mkfifo getloadavg fchmod pread register_at_fork"
             ).split():
    delattr(os, name)
for name in "SIGKILL SIGHUP SIGUSR1 SIGALRM SIGCHLD SIGQUIT SIGPIPE setitimer alarm".split():
    delattr(signal, name)
"""
IMPORTS = """
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
PLAN = """
from unfrozen.__main__ import main
sys.exit(main())
"""


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", WITHOUT + script, *arguments]
    found = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, check=False, env=found)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_every_module_of_the_planner_is_imported() -> None:
    core = ROOT / "py" / "unfrozen"
    files = (file.relative_to(core.parent).with_suffix("") for file in core.rglob("*.py"))
    names = (".".join(file.parts).removesuffix(".__init__") for file in files)
    run(IMPORTS, *(name for name in names if not name.startswith("unfrozen.lab")))


def test_a_plan_of_files_is_printed_in_an_alphabet_that_has_all_of_it(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config.write_text(json.dumps({"model_type": "llama", **sizes, "intermediate_size": 128,
                                  "vocab_size": 256}))  # fmt: skip
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    assert "\u2212" in run(PLAN, "plan", "--model", str(config), "--gpu", "RTX 4090")
    one = run(PLAN, "plan", "--model", str(config), "--gpus", "4090", "--data", str(rows))
    assert "unfrozen train" in one or "accelerate launch" in one

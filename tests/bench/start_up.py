"""How long a command takes before it does what it is for, each in a process of its own.

    python3 build.py bench start_up

Seconds of processor time, of the fastest of some turns: what a quiet machine takes, also on one
that is not. `train` is followed until its first step is in its log; its baseline is what importing
PyTorch and the part of transformers that holds the model takes, which no command can do without.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.bench import Ratio, show

TURNS = 5
TRAIN_TURNS = 3
AT_ONCE_SECONDS = 0.3
STEP = b'"train/loss"'
COMMANDS = (
    ("plan", "--model", "Llama-3.1-8B", "--gpu", "H100"),
    ("--help",),
    *((name, "--help") for name in ("serve", "plan", "train", "resume", "export")),
)
IMPORTS = "import torch; from transformers.models.llama import modeling_llama"
MOST_OVER_IMPORTS = 1.25


def cpu_seconds(*command: str) -> float:
    """Processor time of one process, of its children too."""
    before = os.times()
    quiet = subprocess.DEVNULL  # what libraries say when they are imported
    subprocess.run(command, check=True, stdout=quiet, stderr=quiet)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def first_step(script: str) -> float:
    """Processor time of `unfrozen train --model demo` until its first step is logged."""
    with tempfile.TemporaryDirectory() as runs:
        command = [script, "train", "--model", "demo", "--runs", runs]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as trainer:
            while not any(STEP in log.read_bytes() for log in Path(runs).glob("*/events.jsonl")):
                if trainer.poll() is not None:
                    raise SystemExit(f"it ended with {trainer.returncode} before its first step")
                time.sleep(0.01)
            spent = psutil.Process(trainer.pid).cpu_times()
            trainer.kill()
    return float(spent.user + spent.system)


def main() -> int:
    """All commands; 1 where one misses its bar."""
    script = str(Path(sys.executable).with_name("unfrozen"))
    rows = [
        Ratio(
            f"unfrozen {' '.join(words[:2])}",
            min(cpu_seconds(script, *words) for _ in range(TURNS)),
            AT_ONCE_SECONDS,
            "s",
        )
        for words in COMMANDS
    ]
    show("start-up", "the budget of 0.3 s", rows)
    imports = min(cpu_seconds(sys.executable, "-c", IMPORTS) for _ in range(TRAIN_TURNS))
    step = Ratio(
        "to the first step", min(first_step(script) for _ in range(TRAIN_TURNS)), imports, "s"
    )
    show("unfrozen train --model demo", f"its imports; bar {MOST_OVER_IMPORTS:g}", [step])
    late = [row for row in rows if row.value > row.baseline]
    return int(bool(late) or step.value > MOST_OVER_IMPORTS * step.baseline)


if __name__ == "__main__":
    sys.exit(main())

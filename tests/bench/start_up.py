"""How long a command takes before it does what it is for, each in a process of its own.

    python3 build.py bench start_up

Seconds of processor time, of the fastest of some turns: what a quiet machine takes, also on one
that is not. `train` is followed to its first step; its baseline is what PyTorch and the part of
transformers that holds the model take to import, below which no command can come.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import Ratio, show

TURNS = 5
TRAIN_TURNS = 3
AT_ONCE_SECONDS = 0.3
COMMANDS = (
    ("plan", "--model", "Llama-3.1-8B", "--gpu", "H100"),
    ("--help",),
    *((name, "--help") for name in ("serve", "plan", "train", "resume", "export", "trace")),
)
IMPORTS = "import torch; from transformers.models.llama import modeling_llama"
MOST_OVER_IMPORTS = 1.6
FIRST_STEP = """
import os, sys, time
from gpu_runner import command_line, record
told = record.Recorder.step_done
def step_done(self, result, *more):
    print("FIRST STEP", time.process_time(), flush=True)
    os._exit(0)
record.Recorder.step_done = step_done
command_line.main(sys.argv[1:])
"""


def cpu_seconds(*command: str) -> float:
    """Processor time of one process, of its children too."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def first_step() -> float:
    """Processor time of `unfrozen train --model demo` until its first step is done."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "-c", FIRST_STEP, "train", "--model", "demo", "--runs", runs]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"FIRST STEP ([\d.]+)", said)[0])


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
    step = Ratio("to the first step", min(first_step() for _ in range(TRAIN_TURNS)), imports, "s")
    show("unfrozen train --model demo", f"its imports; bar {MOST_OVER_IMPORTS:g}", [step])
    late = [row for row in rows if row.value > row.baseline]
    return int(bool(late) or step.value > MOST_OVER_IMPORTS * step.baseline)


if __name__ == "__main__":
    sys.exit(main())

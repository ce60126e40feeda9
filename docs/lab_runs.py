"""Runs the page's fine-tune by every method and seed: `python docs/lab_runs.py`.

Writes web/measurements/lab.json, which chapter 3 quotes and draws, and opening.json, one run as the
first figure shows it. tests/unfrozen/lab/test_page_run.py checks every sentence of a preset against
every run in it, and repeats some of them. Twenty minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from gpu_runner import demo
from unfrozen.lab.answers import Reader, blend, generate, score
from unfrozen.lab.choices import DEFAULT, PRESETS, SEEDS, Choices
from unfrozen.lab.demo import END, FILES, GENERAL, TASK, Demo, EncodedRow, documents
from unfrozen.lab.fine_tune import ClockFunctions, FineTune
from unfrozen.lab.llama import NullMeter, Weights
from unfrozen.lab.optimizer import ArrayAdamW, gradient_norm
from unfrozen.lab.step import Result, Trainer

ALPHAS: Final = tuple(round(0.1 * tenth, 1) for tenth in range(9, -1, -1))
"""Shares α of the way from θ₀ at which a plain run is scored once more."""
WRITTEN_ROWS: Final = 256
"""Texts that θ₀ writes for replay, as many as there are earlier rows."""
LORA_RANK: Final = 8
LORA_SCALE: Final = 2.0
"""What the product of the two matrices is multiplied by: α / r."""
MEASUREMENTS: Final = Path(__file__).parents[1] / "web" / "measurements"


class FrozenLayer(Trainer):
    """A trainer that leaves layer 0 as it was."""

    def add_penalties(self, gradients: Weights) -> None:
        """Set the gradients of layer 0 to zero: with no weight decay, it does not move."""
        super().add_penalties(gradients)
        for name, gradient in gradients.items():
            if ".layers.0." in name:
                gradient[:] = 0


class LoraTrainer(Trainer):
    """LoRA (arXiv 2106.09685) beside every matrix of the layers: W = W₀ + α/r · B A.

    The gradients of A and B follow from that of W: s Bᵀ ∇W and s ∇W Aᵀ.
    """

    def __init__(self, given: Demo, choices: Choices) -> None:
        super().__init__(given, choices)
        draw = np.random.default_rng(choices.seed)
        self._adapters: Weights = {}
        for name, matrix in given.start.items():
            if ".layers." in name and matrix.ndim == 2:
                rows, columns = matrix.shape
                bound = 1 / math.sqrt(columns)
                first = draw.uniform(-bound, bound, (LORA_RANK, columns))
                self._adapters[f"A {name}"] = first.astype(np.float32)
                self._adapters[f"B {name}"] = np.zeros((rows, LORA_RANK), np.float32)
        self._adamw = ArrayAdamW(choices.lr, weight_decay=choices.weight_decay)

    def step(self, number: int, meter: NullMeter) -> Generator[None, None, Result]:
        """Take one step of AdamW on all A and B."""
        loss, found = self.demo.model.gradients(
            self.weights, documents(self.rows_of(number)), meter
        )
        yield
        names = [name.removeprefix("A ") for name in self._adapters if name.startswith("A ")]
        slopes: Weights = {}
        for name in names:
            a, b = self._adapters[f"A {name}"], self._adapters[f"B {name}"]
            slopes[f"A {name}"] = LORA_SCALE * b.T @ found[name]
            slopes[f"B {name}"] = LORA_SCALE * found[name] @ a.T
        length = gradient_norm(slopes)
        if length > (clip := self.choices.clip):
            slopes = {name: slope * np.float32(clip / length) for name, slope in slopes.items()}
        self._adamw.move(self._adapters, slopes, self.schedule.at(number))
        for name in names:
            product = self._adapters[f"B {name}"] @ self._adapters[f"A {name}"]
            self.weights[name] = self.demo.start[name] + np.float32(LORA_SCALE) * product
        return Result(loss, length, False)


@dataclass(frozen=True, slots=True)
class Method:
    """One way to learn the task: its choices, and what the page has no dial for."""

    id: str
    label: str
    choices: Mapping[str, float] = field(default_factory=dict)
    trainer: type[Trainer] = Trainer
    demo: Callable[[Demo], Demo] = lambda given: given


def replay_own_texts(given: Demo) -> Demo:
    """The same demo, its earlier rows replaced by texts that θ₀ writes with no prompt."""
    return replace(given, earlier=tuple(written_rows(given)))


def written_rows(given: Demo) -> Iterator[EncodedRow]:
    """Yield texts drawn token by token from θ₀ at temperature 1, learned whole."""
    draw, end = np.random.default_rng(0), list(given.tokenizer.special.values())[END]
    for _ in range(WRITTEN_ROWS):
        reader, ids = Reader(given.model, given.start), [end]
        while (len(ids) == 1 or ids[-1] != end) and len(ids) < 64:
            logits = reader.read(ids[-1:]).astype(float)
            odds = np.exp(logits - logits.max())
            ids.append(int(draw.choice(len(odds), p=odds / odds.sum())))
        text = given.tokenizer.decode([token for token in ids if token != end])
        trained = (False, *(True for _ in ids[2:]))
        yield EncodedRow(tuple(ids[1:]), trained, "", text)


METHODS: Final = (
    *(Method(preset.id, preset.label, preset.choices) for preset in PRESETS),
    Method("own", "Replay of its own texts, 20%", {"replay_share": 0.2}, demo=replay_own_texts),
    Method("layer-0", "Layer 0 frozen", {"weight_decay": 0.0}, FrozenLayer),
    *(
        Method(f"lora{name}", f"LoRA, r = {LORA_RANK}, rate {rate:g}", {"lr": rate}, LoraTrainer)
        for name, rate in (("", 3e-3), ("-2e-3", 2e-3), ("-1e-3", 1e-3))
    ),
)


@cache
def shipped() -> Demo:
    """The demo model and its rows, from disk."""
    folder = demo.card().parent
    return Demo.read({name: (folder / name).read_bytes() for name in FILES})


def scored(given: Demo, weights: Weights) -> dict[str, int]:
    """Held-out rows of each set that a model answers right; `general` is all that it knew."""
    right = {
        suite: sum(
            (part.exact.right for part in score(given.model, weights, rows[: DEFAULT.eval_rows])), 0
        )
        for suite, rows in given.suites.items()
    }
    return right | {GENERAL: sum(rows for suite, rows in right.items() if suite != TASK)}


def outcome(given: Demo, method: Method, seed: int) -> dict[str, Any]:
    """One run: its path, losses and exact matches before and after, and on the way back.

    The path has `[step, right rows of the task, right rows of what it knew]` at every twentieth
    step; `back` has right rows by set at each α.
    """
    given_choices = {"eval_every": 20, "sample_tokens": 0, "seed": seed}
    choices = Choices.read(given_choices | dict(method.choices))
    run = FineTune(method.demo(given), choices, ClockFunctions(time.time, time.monotonic))
    run.trainer = method.trainer(method.demo(given), choices)
    path: list[list[int]] = []
    for event in run.events():
        if event and event["kind"] == "drift":
            path.append([run.step, run.exact[TASK][1].right, run.exact[GENERAL][1].right])
    exact = {suite: [list(both[0]), list(both[1])] for suite, both in run.exact.items()}
    found = {"status": run.status, "losses": run.losses, "exact": exact, "path": path}
    found["drift"] = run.trainer.drift()[1]
    if method.id == "plain":
        end = run.trainer.weights
        found["back"] = {
            str(alpha): scored(given, blend(given.start, end, alpha)) for alpha in ALPHAS
        }
    return found


def opening() -> dict[str, Any]:
    """The default run of the first seed: at every tenth step right rows, and five answers.

    The questions are one held-out row of each set, drawn at random by that seed.
    """
    given = shipped()
    choices = Choices.read({"eval_every": 10, "sample_tokens": 0, "seed": SEEDS[0]})
    asked = given.sampled_rows(choices.seed)[::2]
    run = FineTune(given, choices, ClockFunctions(time.time, time.monotonic))
    frames = []
    for event in run.events():
        if event and event["kind"] == "drift":
            answers = [
                generate(given.model, run.trainer.weights, given.tokenizer, row.prompt, 12).text
                for row in asked
            ]
            right = {suite: both[1].right for suite, both in run.exact.items()}
            frames.append({"step": run.step, "right": right, "answers": answers})
    prompts = [{"prompt": row.prompt, "right": row.completion} for row in asked]
    return {"prompts": prompts, "frames": frames}


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    """As the file holds it."""
    losses = {suite: [round(loss, 6) for loss in both] for suite, both in found["losses"].items()}
    return found | {"losses": losses, "drift": round(found["drift"], 6)}


def ended(named: tuple[str, int]) -> dict[str, Any]:
    """One run of a method, in a process of its own."""
    name, seed = named
    return outcome(shipped(), next(method for method in METHODS if method.id == name), seed)


def write(name: str, lists: Mapping[str, list[Any]]) -> None:
    """Write a file of web/measurements: lists by name, each of their items on a line."""
    items = {
        key: ",\n".join(json.dumps(item, ensure_ascii=False) for item in items)
        for key, items in lists.items()
    }
    text = ",\n".join(f"{json.dumps(key)}: [\n{of}\n]" for key, of in items.items())
    (MEASUREMENTS / name).write_text(f"{{\n{text}\n}}\n", encoding="utf-8")


def main() -> None:
    """Run what is asked for, else everything, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [method.id for method in METHODS]
    parser.add_argument("methods", nargs="*", help=f"only these, of {', '.join(names)}")
    chosen = [name for name in names if name in (parser.parse_args().methods or names)]
    os.environ["OMP_NUM_THREADS"] = "1"  # of each process: there is one for each processor
    known = json.loads((MEASUREMENTS / "lab.json").read_text("utf-8"))
    named = [(name, seed) for name in chosen for seed in SEEDS]
    outcomes = {}
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        first_figure = pool.submit(opening)
        for one, found in zip(named, pool.map(ended, named), strict=True):
            outcomes[one] = found
            print(f"{one[0]:8} seed {one[1]}  {found['path'][-1]}", flush=True)
    for name in chosen:
        known[name] = [rounded(outcomes[name, seed]) for seed in SEEDS]
    write("lab.json", {name: known[name] for name in names})
    write("opening.json", first_figure.result())


if __name__ == "__main__":
    main()

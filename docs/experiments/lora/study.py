"""Which runs a comparison makes, in which order, and the file of those that are done.

Each method climbs a ladder of rates with the first seed: three rungs, and one more beyond either
end as long as the best lies there, at most MOST_EXTRA of them; then one between the best and the
better of its neighbours. Best is the lowest task loss on held-out rows after the last step. At its
best rate a method is then run with the other seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import inf, sqrt
from pathlib import Path
from typing import Any, Final

from gpu_runner.errors import UsageError
from lora.methods import ALPHA, TARGETS, Method
from lora.trial import Run, Setting, TrialResult, provenance

METHODS: Final = (Method(), Method(1), Method(8), Method(64))
SEEDS: Final = (7, 8, 9)
LADDER: Final = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
FIRST_FULL: Final = LADDER.index(1e-4)
FIRST_LORA: Final = LADDER.index(1e-3)  # ten times that of full fine-tuning
RUNGS: Final = 3
MOST_EXTRA: Final = 2


@dataclass(frozen=True, slots=True)
class Done:
    """A run, its outcome, and what computed it (see `trial.provenance`)."""

    run: Run
    outcome: TrialResult
    made: dict[str, Any]

    @property
    def task(self) -> float:
        """Its task loss in nats a token; infinite where it diverged."""
        return inf if self.outcome.task is None else self.outcome.task


def identity(setting: Setting) -> dict[str, Any]:
    """What makes runs comparable; a file of finished runs holds those of one identity only."""
    about = {
        "setting": setting.id,
        "choices": setting.choices,
        "alpha": ALPHA,
        "targets": TARGETS,
    }
    return dict(json.loads(json.dumps(about)))


class ResultsFile:
    """A file of finished runs, one JSON object a line.

    A last line without an end, of a command that was killed, counts as none. Raises `UsageError`
    for a file that is something else, or of runs of another study.
    """

    def __init__(self, file: Path | None, setting: Setting) -> None:
        self.done: list[Done] = []
        self._file = file
        self._identity = identity(setting)
        if file is None or not file.exists():
            return
        whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
        for number, line in enumerate(whole.splitlines(), 1):
            self.done.append(self._read(line, f"{file}, line {number}"))

    def _read(self, line: str, place: str) -> Done:
        try:
            entry = json.loads(line)
            study, given = entry["study"], entry["run"]
            run = Run(Method.of(given["method"]), float(given["rate"]), int(given["seed"]))
            done = Done(run, TrialResult(**entry["outcome"]), entry["made"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{place} is no finished run of this command ({error}): give --keep another file."
            ) from None
        if study != self._identity:
            raise UsageError(
                f"{place} is of another study ({study.get('setting')}, {study.get('choices')}), and"
                f" this one is {self._identity['setting']}, {self._identity['choices']}: give"
                " --keep another file."
            )
        return done

    def find(self, run: Run) -> Done | None:
        """The finished run, if it is there."""
        return next((one for one in self.done if one.run == run), None)

    def add(self, done: Done) -> None:
        """Remember a run, in the file too; half a line at its end is written over."""
        self.done.append(done)
        if self._file is None:
            return
        run = done.run
        entry = {
            "study": self._identity,
            "run": {"method": run.method.id, "rate": run.rate, "seed": run.seed},
            "outcome": asdict(done.outcome),
            "made": done.made,
        }
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        whole = text[: text.rfind("\n") + 1] + json.dumps(entry) + "\n"
        self._file.write_text(whole, encoding="utf-8")


def ladder(method: Method, done: list[Done], seed: int) -> list[float]:
    """The rates that `method` needs with the first seed, as far as what is `done` tells."""
    start = FIRST_FULL if method.rank is None else FIRST_LORA
    found = _losses(method, done, seed)
    rungs = range(start, start + RUNGS)
    for extra in range(MOST_EXTRA + 1):
        rates = [LADDER[rung] for rung in rungs]
        if not all(rate in found for rate in rates):
            break
        lowest = min(range(len(rates)), key=lambda index: found[rates[index]])
        if 0 < lowest < len(rates) - 1:
            below, best, above = rates[lowest - 1 : lowest + 2]
            return [*rates, between(best, min(below, above, key=lambda rate: found[rate]))]
        if extra < MOST_EXTRA:
            rungs = range(rungs.start - (lowest == 0), rungs.stop + (lowest > 0))
    return [LADDER[rung] for rung in rungs]


def between(one: float, other: float) -> float:
    """The geometric mean of two rates, in two digits."""
    return float(f"{sqrt(one * other):.1e}")


def _losses(method: Method, done: list[Done], seed: int) -> dict[float, float]:
    """Rate → task loss of what is done."""
    runs = [one for one in done if (one.run.method, one.run.seed) == (method, seed)]
    return {one.run.rate: one.task for one in runs}


def best_rate(method: Method, done: list[Done], seed: int) -> float | None:
    """The rate of the lowest task loss, once the whole ladder is there; None before."""
    found, rates = _losses(method, done, seed), ladder(method, done, seed)
    return min(rates, key=lambda rate: found[rate]) if set(rates) <= set(found) else None


def missing(methods: tuple[Method, ...], seeds: tuple[int, ...], done: list[Done]) -> Iterator[Run]:
    """The runs that can be made next, in order; ask again after each. None when all are there."""
    known = {one.run for one in done}
    climbing = (
        Run(method, rate, seeds[0]) for method in methods for rate in ladder(method, done, seeds[0])
    )
    yield from (run for run in climbing if run not in known)
    for seed in seeds[1:]:
        for method in methods:
            rate = best_rate(method, done, seeds[0])
            if rate is not None and Run(method, rate, seed) not in known:
                yield Run(method, rate, seed)


def carry_out(
    methods: tuple[Method, ...],
    seeds: tuple[int, ...],
    kept: ResultsFile,
    make: Callable[[Run], TrialResult],
    tell: Callable[[Done], None] = lambda _: None,
) -> list[Done]:
    """Make every run that is not `kept` yet; returns all of them."""
    while (run := next(missing(methods, seeds, kept.done), None)) is not None:
        done = Done(run, make(run), provenance())
        kept.add(done)
        tell(done)
    return kept.done

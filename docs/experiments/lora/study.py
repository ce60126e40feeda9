"""Which runs a comparison makes, in which order, and the file of those that are done.

Each method climbs a ladder of rates with the first seed: three rungs, one more below as long as the
lowest has learned the task, and one more above as long as none has, at most MOST_EXTRA of them.
Best is the lowest rate that has learned the task: at least LEARNED of its held-out rows are
answered exactly after the last step. A higher one moves the weights further and so loses more. At
its best rate a method is then run with the other seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gpu_runner.errors import UsageError
from lora.methods import ALPHA, TARGETS, Method
from lora.trial import Run, Setting, TrialResult, provenance

METHODS: Final = (Method(), Method(1), Method(8), Method(64))
SEEDS: Final = (7, 8, 9)
LADDER: Final = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
FIRST_FULL: Final = LADDER.index(1e-5)
FIRST_LORA: Final = LADDER.index(1e-4)  # ten times that of full fine-tuning
RUNGS: Final = 3
MOST_EXTRA: Final = 2
LEARNED: Final = 60 / 64


@dataclass(frozen=True, slots=True)
class Done:
    """A run, its outcome, and what computed it (see `trial.provenance`)."""

    run: Run
    outcome: TrialResult
    made: dict[str, Any]

    @property
    def right(self) -> float:
        """The share of the task's held-out rows that it answers exactly at its end."""
        _, after, rows = self.outcome.task_right
        return after / rows


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
    found = _right_rows(method, done, seed)
    rungs = range(start, start + RUNGS)
    for _ in range(MOST_EXTRA):
        rates = [LADDER[rung] for rung in rungs]
        if not all(rate in found for rate in rates):
            break
        learned = [found[rate] >= LEARNED for rate in rates]
        rungs = range(rungs.start - learned[0], rungs.stop + (not any(learned)))
    return [LADDER[rung] for rung in rungs]


def _right_rows(method: Method, done: list[Done], seed: int) -> dict[float, float]:
    """Rate → share of right rows of what is done."""
    runs = [one for one in done if (one.run.method, one.run.seed) == (method, seed)]
    return {one.run.rate: one.right for one in runs}


def best_rate(method: Method, done: list[Done], seed: int) -> float | None:
    """The lowest rate that has learned the task, else the one with most right rows.

    None before the whole ladder is there.
    """
    found, rates = _right_rows(method, done, seed), ladder(method, done, seed)
    if not set(rates) <= set(found):
        return None
    learned = [rate for rate in rates if found[rate] >= LEARNED]
    return min(learned) if learned else max(rates, key=lambda rate: found[rate])


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

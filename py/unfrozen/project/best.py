"""The one plan of a project, and what else it could be.

Searched together are recomputation, offload, precision, sharding, micro-batch and tensor, pipeline,
context and expert parallelism, in every framework that runs the job (`changes`, `plan.layouts`).
The sequences of a step are those that were asked for, else `USUAL_SEQUENCES`, fewer where the data
are few, and where the update runs inside backward as many as fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from unfrozen.frameworks.adapting import COMPLETIONS
from unfrozen.frameworks.registry import FRAMEWORKS, UNFROZEN
from unfrozen.frameworks.tables import mesh
from unfrozen.frameworks.writing import known_words
from unfrozen.hardware.flavors import usual_price
from unfrozen.job import Job
from unfrozen.plan import Plan, plan_job
from unfrozen.plan.compute import Estimate, estimate
from unfrozen.plan.layouts import Layout, Search, simplest_first
from unfrozen.plan.record import UNTESTED, chance_of
from unfrozen.plan.step_time import job_gpu, step_tokens
from unfrozen.project.changes import (
    ADAPTERS,
    AWAY,
    ON_GPU,
    PREFERRED,
    SEVERAL,
    SMALLER,
    TRL,
    Variant,
    ways,
)
from unfrozen.project.host import Needs, needs, usual_host_bytes
from unfrozen.runner import packs
from unfrozen.training_data import Data

USUAL_SEQUENCES: Final = 64
"""Of a step, where nobody says how many: between torchtune's 2 to 16 and the 128 of Tülu 3."""
LEAST_STEPS: Final = 50
"""Steps below which a step takes fewer sequences, where nobody says how many."""
KEPT: Final = 12
"""Layouts of a search, of which the others are named."""
OTHERS: Final = 2
"""Other layouts of the same GPUs that are named."""


def packs_rows(job: Job) -> bool:
    """Return whether several rows share a sequence: neither pairs and prompts nor rows with images,
    which TRL 1.16 refuses to pack (trainer/sft_trainer.py).
    """
    a = job.model.architecture
    return job.recipe.objective == "sft" and not a.vision and packs(a)


@dataclass(frozen=True, slots=True)
class TrainingProject:
    """A project: its job, whose layout is open, on `gpus` of its GPU; its data (None: none yet),
    the sequences of a step, who shall run it, and the price of a GPU-hour. Of the recipe, `left`
    are the keys that the reader left open; `names` is what commands call model and data.
    """

    job: Job
    gpus: int
    data: Data | None = None
    sequences: int | None = None
    framework: str = ""
    price: float | None = None
    left: frozenset[str] = frozenset()
    names: tuple[str, str] = ("MODEL", "FILE.jsonl")

    @property
    def packs(self) -> bool:
        """Whether several rows share a sequence; else each is padded to the end of one."""
        return packs_rows(self.job)

    def run_sequences(self, *, packed: bool) -> int:
        """Return the sequences of all epochs, `COMPLETIONS` of each prompt; 0 without data."""
        if self.data is None:
            return 0
        recipe = self.job.recipe
        own = self.data.tokens / (recipe.seq_len if packed else self.data.mean)
        return math.ceil(own * (COMPLETIONS if recipe.objective == "grpo" else 1))

    @property
    def step_sequences(self) -> int:
        """The sequences of a step: a multiple of the GPUs where nobody says how many."""
        if self.sequences is not None:
            return self.sequences
        wanted = USUAL_SEQUENCES
        if self.data is not None:
            own = self.run_sequences(packed=self.packs) // LEAST_STEPS
            wanted = min(wanted, 2 ** max(0, own.bit_length() - 1))
        return -(-max(1, wanted) // self.gpus) * self.gpus


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A layout, and what its run takes of a project's data and costs."""

    layout: Layout
    question: TrainingProject

    @property
    def job(self) -> Job:
        """As it is trained."""
        return self.layout.job

    @property
    def framework(self) -> str:
        """Who runs it; empty where no framework here starts it."""
        return self.layout.way

    @property
    def plan(self) -> Plan:
        """Its memory."""
        return plan_job(self.job)

    @property
    def packs(self) -> bool:
        """Whether rows share a sequence: TRL packs none that context parallelism cuts."""
        cut = self.job.cluster.context_parallel > 1 and self.framework in TRL
        return self.question.packs and not cut

    @property
    def chance(self) -> float | None:
        """The probability that it runs, as far as published runs support it."""
        return chance_of(self.plan, self.framework)

    @property
    def untested(self) -> bool:
        """No GPU has run the framework that starts it."""
        return self.framework in UNTESTED

    @property
    def rank(self) -> tuple[bool, float]:
        """Plans are sorted by this: those that a GPU has run first, then the fastest."""
        return self.untested, -self.layout.tokens_per_second

    @property
    def price(self) -> float | None:
        """The price of a GPU-hour: the reader's, else the median of the offers."""
        return (
            usual_price(job_gpu(self.job)) if self.question.price is None else self.question.price
        )

    @property
    def steps(self) -> int:
        """Of the whole run; 0 without data."""
        return math.ceil(self.question.run_sequences(packed=self.packs) / self.layout.sequences)

    @property
    def run(self) -> Estimate | None:
        """Time and cost of all steps; None without data."""
        tokens = self.steps * step_tokens(self.job)
        return estimate(self.job, tokens, price=self.price) if tokens else None

    @property
    def cost(self) -> float | None:
        """Of the whole run; None without data or a price."""
        return self.run.cost if self.run else None

    @property
    def needs(self) -> Needs:
        """What it needs beside its GPUs."""
        return needs(self.job, self.framework)

    @property
    def command(self) -> str:
        """What to type, with what is known of model, data and length; empty where nothing here
        starts it.
        """
        if not self.framework:
            return ""
        model, data = self.question.names
        known = known_words(self.framework, model, data)
        if self.steps:
            known["STEPS"] = str(self.steps)
        text = FRAMEWORKS[self.framework].command(self.job, known)
        return text if self.question.data is None else self._with_epochs(text)

    def _with_epochs(self, text: str) -> str:
        """Return a command that trains the epochs of the data, packed where it says so."""
        assert self.question.data is not None
        epochs = f"{self.question.data.epochs:g}"
        added = {UNFROZEN: f"--epochs {epochs}"}
        packing = " --packing true" if self.packs else ""
        added |= dict.fromkeys(TRL, f"--num_train_epochs {epochs}{packing}")
        if self.framework in added:
            return f"{text} \\\n  {added[self.framework]}"
        return re.sub(r"(num[_-](?:train_)?epochs:? )1\b", rf"\g<1>{epochs}", text)


Stages = Sequence[Sequence[Variant]]
STAGES: Final[Stages] = (ON_GPU, AWAY, SMALLER)
"""Changes that are tried together, the next ones where none of these fits."""


@dataclass(frozen=True, slots=True)
class OnePlan:
    """The plan, None where nothing fits; the same job by other layouts, on half the GPUs by the
    same framework, and with adapters on the fewest; the full fine-tuning that lacks host memory
    alone.
    """

    question: TrainingProject
    first: PlannedRun | None
    others: tuple[PlannedRun, ...] = ()
    fewer: tuple[PlannedRun, ...] = ()
    adapters: tuple[PlannedRun, ...] = ()
    lacking: PlannedRun | None = None


Layouts = Generator[None, None, list[Layout]]
PlannedRuns = Generator[None, None, list[PlannedRun]]
PlanSteps = Generator[None, None, OnePlan]


class Work:
    """Work towards an answer that pauses between two plans: `advance` until `answer` is there.

    Raises PlanError where there is none.
    """

    def __init__(self, steps: PlanSteps) -> None:
        self.answer: OnePlan | None = None
        self._steps = steps

    def advance(self) -> bool:
        """Look at one more cluster or plan; return whether anything is left."""
        if self.answer is None:
            try:
                next(self._steps)
            except StopIteration as end:
                self.answer = end.value
        return self.answer is None

    def finish(self) -> OnePlan:
        """Work to the end; return the answer."""
        while self.answer is None:
            self.advance()
        return self.answer


def find(question: TrainingProject, *, beside: bool = True, stages: Stages = STAGES) -> PlanSteps:
    """Find the plan of a question, and what else it could be where that is asked for (`beside`)."""
    finder, gpus = _Finder(question, KEPT if beside else 1), question.gpus
    found: list[PlannedRun] = []
    for changes in stages:
        found += yield from finder.fitting(changes, gpus)
        if found and (question.framework or not all(one.untested for one in found)):
            break
    found.sort(key=lambda one: one.untested)  # what a GPU has run goes first, however slow
    first = found[0] if found else None
    fewer: list[PlannedRun] = []
    adapters: list[PlannedRun] = []
    if beside:
        if first and gpus > 1:
            same = _Finder(replace(question, framework=first.framework), 1)
            fewer = yield from same.fitting(ON_GPU, gpus // 2)
        for changes in ADAPTERS:
            if changes[0].recipe["method"] != question.job.recipe.method:
                adapters += (yield from finder.smallest(changes))[:1]
    others = {(mesh(one.job), one.untested): one for one in reversed(found) if beside}
    if first:
        others.pop((mesh(first.job), first.untested), None)
    shown = sorted(others.values(), key=lambda one: one.rank)[:OTHERS]
    return OnePlan(question, first, tuple(shown), tuple(fewer[:1]), tuple(adapters), finder.lacking)


class _Finder:
    """Finds choices of one question; of what lacks host memory alone, it keeps the first."""

    def __init__(self, question: TrainingProject, most: int) -> None:
        self.lacking: PlannedRun | None = None
        self._question, self._most = question, most

    def fitting(self, changes: Sequence[Variant], gpus: int) -> PlannedRuns:
        """Find what fits with any of these changes and in usual machines, the first choice first.

        Where the update runs inside backward, a step has as many sequences as fit.
        """
        found = yield from self._search([one for one in changes if not one.early], gpus)
        for change in changes:
            sequences = self._question.step_sequences if change.early else 0
            while sequences >= gpus:
                if more := (yield from self._search([change], gpus, sequences)):
                    found += more
                    break
                sequences //= 2
        usual = usual_host_bytes(job_gpu(self._question.job), gpus)
        ranked = _ranked(found)
        held = [one for one in ranked if needs(one.job, one.way).host <= usual]
        if ranked and not held and self.lacking is None:
            self.lacking = PlannedRun(ranked[0], self._question)
        return [PlannedRun(one, self._question) for one in _startable(held)]

    def smallest(self, changes: Sequence[Variant]) -> PlannedRuns:
        """Find the fewest GPUs that fit one of these changes, in powers of two."""
        gpus = 1
        while gpus <= self._question.gpus:
            if found := (yield from self._search(changes, gpus)):
                ranked = _startable(_ranked(found))
                return [PlannedRun(one, self._question) for one in ranked]
            gpus *= 2
        return []

    def _search(
        self, changes: Sequence[Variant], gpus: int, sequences: int | None = None
    ) -> Layouts:
        question = self._question
        asked = [
            way
            for one in changes
            for way in ways(question.job, one, question.framework, question.left)
            if gpus > 1 or question.framework or way.name not in SEVERAL
        ]
        found: list[Layout] = []
        for untested in (False, True):
            own = [way for way in asked if (way.name in UNTESTED) == untested]
            if own and (not found or self._most > 1):
                search = Search(own, gpus, sequences or question.step_sequences, self._most)
                while search.advance():
                    yield
                found += search.found
        return found


def _ranked(found: Sequence[Layout]) -> list[Layout]:
    """Return layouts, what a GPU has run first, of each the simplest of the fastest."""
    parts = (
        [one for one in found if (one.way in UNTESTED) == untested] for untested in (False, True)
    )
    return [one for part in parts for one in simplest_first(part, PREFERRED)]


def _startable(found: list[Layout]) -> list[Layout]:
    """Return the layouts that a framework starts; all where none does."""
    return [one for one in found if one.way] or found

"""The planner's record on published runs of each kind: errors of time and memory, and verdicts.

An error is the estimated speed over the measured one, less 1; a band counts it as a factor, so that
half as fast is as far off as twice as fast. `docs/first_look.py` computes `SPEEDS` and `MEMORIES`
from the published runs, and test_later_rows.py computes them again: they are neither assumptions
nor bounds, only the errors observed so far.

Runs of one project share its machines, kernels and ways to count: a new run is of another project,
so each project counts once, however many runs it published (Dunn, Wasserman and Ramdas,
Distribution-free prediction sets for two-layer hierarchical models, arXiv 1809.07441, pool the
distributions of groups so). Where a project is left out and its runs are asked whether they lie in
the band of the others, at least 88% of those of each kind do (test_later_rows.py).

Verdicts are those on the runs of fits_third.json and fits_fourth.json in tests/measurements;
test_fits.py there counts them again. The chance of a plan is no higher than runs of its kind
support: of n runs, k of which took more memory than the GPU has room for beside what was predicted,
n − k + 1 in n + 2 (Laplace's rule of succession), or `SURE`, which no verdict has missed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final, NamedTuple

from unfrozen.job import Job
from unfrozen.plan import SURE, Plan
from unfrozen.plan.flops import frozen
from unfrozen.plan.step_time import job_gpu
from unfrozen.plan.timing.passes import OF_TRANSFORMERS

KINDS: Final = {
    "apple": "on a GPU of Apple",
    "objectives": "of DPO, GRPO or embeddings",
    "hf_experts": "of models with experts as transformers computes them",
    "long": "with sequences of more than 128k tokens",
    "adapters": "with adapters",
    "spread_experts": "of models with experts across machines",
    "experts": "of models with experts on one machine or NVLink rack",
    "low": "with matmuls of 8 bits or fewer",
    "unlinked": "on several GPUs without NVLink",
    "machine": "on one machine",
    "machines": "on several machines",
}
"""Kinds of jobs, in the order in which a job is asked whether it is one, and in words."""

_WHY: Final = {
    "apple": "its memory is counted by the tensors, beside what Metal recommends to use, and no run"
    " there was compared with it; transformers' Trainer, TRL and PEFT train there (device mps),"
    " bitsandbytes, FSDP, DeepSpeed and FlashAttention do not",
    "hf_experts": "gpt-oss took 80 to 100 µs a token more than its operations and bytes explain,"
    " recomputed or not: its biases are gathered for each token, and backward PyTorch sums their"
    " gradients one after the other (mlc-ai/pith-train pull 34 replaced that); Qwen3, which has no"
    " biases, took up to 0.8 s a step more",
    "long": "longer ones took more time than their operations explain",
    "spread_experts": "recipes hide more or less of the exchange between experts, pad experts or"
    " not, run attention in 8 or 16 bits (Megatron Bridge), and no setting says which",
}
"""Why a kind has no band, beside too few projects to judge by."""

_LONG: Final = 2**17
_WIDE: Final = ("fp32", "bf16", "fp16")
ENOUGH: Final = 9
"""Projects from which on nine in ten of them are more than a single one."""
LEAST: Final = 3
"""Projects from which on there is a band: two can agree by chance."""
FEWEST: Final = 5
"""Runs from which on half and nine in ten of them are named."""
MARGINS: Final = (1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 3.0)
"""Factors of a predicted memory for which `MEMORIES` counts the runs that took more."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Errors without their sign, as ratios: of how many runs, and within what half of them and nine
    in ten lie.
    """

    runs: int
    half: float
    most: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> Spread:
        """Return the spread of some errors with their sign, at least one."""
        found = sorted(map(abs, errors))
        middle = len(found) // 2
        half = found[middle] if len(found) % 2 else (found[middle - 1] + found[middle]) / 2
        return cls(len(found), half, found[math.ceil(0.9 * len(found)) - 1])


@dataclass(frozen=True, slots=True)
class Band:
    """How far estimates of one kind were off: of how many runs and projects, and by what factor,
    less 1, `half` of them and `most` of them at the worst.

    `most` is of nine in ten runs, each project counted once; of fewer than `ENOUGH` projects it is
    that of the worst run.
    """

    runs: int
    projects: int
    half: float
    most: float

    @classmethod
    def of(cls, errors: Mapping[str, Sequence[float]]) -> Band:
        """Return the band of errors with their sign, by project; of none it is empty."""
        found = {name: [abs(math.log1p(e)) for e in each] for name, each in errors.items() if each}
        share = 0.9 if len(found) >= ENOUGH else 1.0
        half, most = (math.expm1(_quantile(found, part)) for part in (0.5, share))
        return cls(sum(map(len, found.values())), len(found), half, most)

    @property
    def known(self) -> bool:
        """Whether enough projects published runs for a band."""
        return self.projects >= LEAST

    def holds(self, error: float) -> bool:
        """Return whether an error lies in the band."""
        return abs(math.log1p(error)) <= math.log1p(self.most)


def _quantile(found: Mapping[str, Sequence[float]], share: float) -> float:
    """Return the least size within which a share of the errors lies, each project counted once."""
    sizes = sorted((size, 1 / len(each) / len(found)) for each in found.values() for size in each)
    reached = 0.0
    for size, weight in sizes:
        reached += weight
        if reached >= share - 1e-9:
            return size
    return 0.0


class Peaks(NamedTuple):
    """Published peaks of one kind: how many, within what half and nine in ten of them were
    predicted, and how many took more than each of `MARGINS` allows.
    """

    runs: int
    half: float
    most: float
    above: tuple[int, ...]

    @classmethod
    def of(cls, errors: Sequence[float]) -> Peaks:
        """Return the counts of errors with their sign, at least one."""
        found = Spread.of(errors)
        above = (sum((1 + error) * factor < 1 for error in errors) for factor in MARGINS)
        return cls(found.runs, found.half, found.most, tuple(above))

    def support(self, margin: float) -> float:
        """Return the chance of a run with `margin` times the room that was predicted."""
        counted = [over for least, over in zip(MARGINS, self.above, strict=True) if least <= margin]
        return (self.runs - min(counted, default=self.runs) + 1) / (self.runs + 2)


def held_apart(errors: Mapping[str, Sequence[float]]) -> tuple[int, int]:
    """Return how many runs lie in the band of the other projects, and how many were asked."""
    held = asked = 0
    for name, own in errors.items():
        others = Band.of({key: each for key, each in errors.items() if key != name})
        if others.known:
            held, asked = held + sum(map(others.holds, own)), asked + len(own)
    return held, asked


# counted by docs/first_look.py
SPEEDS: Final[dict[str, Band]] = {
    "apple": Band(0, 0, 0.000, 0.000),
    "objectives": Band(0, 0, 0.000, 0.000),
    "hf_experts": Band(20, 1, 0.962, 1.515),
    "long": Band(6, 2, 0.370, 0.647),
    "adapters": Band(60, 8, 0.176, 0.930),
    "spread_experts": Band(10, 1, 0.160, 0.654),
    "experts": Band(13, 5, 0.169, 0.548),
    "low": Band(40, 7, 0.061, 0.640),
    "unlinked": Band(1, 1, 2.183, 2.183),
    "machine": Band(141, 17, 0.145, 0.435),
    "machines": Band(66, 9, 0.084, 0.659),
}
MEMORIES: Final[dict[str, Peaks]] = {
    "hf_experts": Peaks(19, 0.051, 0.353, (11, 11, 9, 6, 3, 2, 0, 0)),
    "adapters": Peaks(88, 0.048, 0.155, (32, 28, 21, 11, 6, 2, 2, 1)),
    "experts": Peaks(9, 0.041, 1.291, (4, 4, 0, 0, 0, 0, 0, 0)),
    "low": Peaks(4, 0.078, 0.121, (3, 3, 2, 0, 0, 0, 0, 0)),
    "unlinked": Peaks(1, 0.086, 0.086, (0, 0, 0, 0, 0, 0, 0, 0)),
    "machine": Peaks(68, 0.033, 0.114, (40, 24, 15, 6, 3, 1, 0, 0)),
    "machines": Peaks(5, 0.011, 0.060, (2, 0, 0, 0, 0, 0, 0, 0)),
}
# end


def kind_of(job: Job) -> str:
    """Return which of `KINDS` a job is; of several, such as fp8 on two machines, the first."""
    gpu = job_gpu(job)
    if gpu.device == "mps":
        return "apple"
    if job.recipe.objective != "sft":
        return "objectives"
    has_experts = bool(job.model.architecture.experts)
    if has_experts and not frozen(job) and job.framework and job.framework.name in OF_TRANSFORMERS:
        return "hf_experts"
    if job.recipe.seq_len > _LONG:
        return "long"
    if frozen(job):
        return "adapters"
    if has_experts:
        return "experts" if job.cluster.gpus <= gpu.linked_gpus else "spread_experts"
    if job.recipe.compute not in _WIDE:
        return "low"
    if gpu.link_gb_s is None and job.cluster.gpus > 1:
        return "unlinked"
    return "machine" if job.cluster.gpus <= gpu.node_gpus else "machines"


def band(job: Job) -> str:
    """Return how far estimates for runs of the same kind were off, or why there is no band.

    "of 64 published runs on several machines, of 8 projects, half were within 16% and the worst
    within 77%"
    """
    kind, found = kind_of(job), band_of(job)
    if not found.known:
        why = f"; {_WHY[kind]}" if kind in _WHY else ""
        return f"no band {KINDS[kind]}: {_published(found)}{why}"
    last = "nine in ten" if found.projects >= ENOUGH else "the worst"
    return (
        f"of {found.runs} published runs {KINDS[kind]}, of {found.projects} projects, half were"
        f" within {_percent(found.half)} and {last} within {_percent(found.most)}"
    )


def _published(found: Band) -> str:
    if not found.runs:
        return "nobody published one beside what it takes"
    runs = f"{found.runs} runs were" if found.runs > 1 else "one run was"
    projects = f"{found.projects} projects" if found.projects > 1 else "one project"
    worst = f"the worst was {_percent(found.most)} off"
    return f"{runs} published, by {projects}, fewer than {LEAST}; {worst}"


def band_of(job: Job) -> Band:
    """Return the band of the published runs of the same kind as a job."""
    return SPEEDS[kind_of(job)]


def half_within(job: Job) -> str:
    """Return what half of the estimates for runs of the same kind stayed within: "half within 5%",
    or that it has no band.
    """
    found = band_of(job)
    if not found.known:
        return f"no band for runs {KINDS[kind_of(job)]}"
    return f"half within {_percent(found.half)}"


def most_words(job: Job) -> str:
    """Return which of the published runs of its kind the band of a job holds."""
    return "nine in ten" if band_of(job).projects >= ENOUGH else "all published ones"


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.0f}%"


@dataclass(frozen=True, slots=True)
class FitCounts:
    """Published runs, those that ran, and the verdicts on them.

    `fitting` were said to fit, `failed` of these ran out of memory; `not_fitting` were said not to,
    `ran_yet` of these ran; the others were tight. `shown` say what the GPU showed, `inside` of
    these lie in the band.
    """

    runs: int
    fitting: int
    failed: int
    not_fitting: int
    ran_yet: int
    shown: int
    inside: int

    def text(self, kind: str = "") -> str:
        """Return the verdicts in one sentence; `kind` is that of the runs, as `KINDS` has it."""
        first = (
            f"Of {self.runs} published runs{kind and f' {kind}'} {self.fitting} were said to fit"
        )
        said = "and all did" if not self.failed else f"and {self.fitting - self.failed} did"
        none = f"{self.ran_yet}" if self.ran_yet else "none"
        return f"{first}, {said}; of {self.not_fitting} said not to fit {none} ran."


FITS_OF: Final = {
    "machine": FitCounts(66, 32, 0, 30, 0, 34, 34),
    "hf_experts": FitCounts(27, 19, 0, 8, 0, 0, 0),
    "adapters": FitCounts(169, 120, 0, 43, 0, 110, 105),
}
"""Verdicts by kind of job."""
FITS: Final = FitCounts(*map(sum, zip(*map(astuple, FITS_OF.values()), strict=True)))
_NONE: Final = Peaks(0, 0.0, 0.0, (0,) * len(MARGINS))
UNTESTED: Final = {"unfrozen": "no GPU has run unfrozen train yet: start with its selftest"}
"""Frameworks whose steps on a GPU nobody has seen, with what to say of that."""


def chance_of(planned: Plan, framework: str = "") -> float | None:
    """Return the probability that a plan runs by a framework, as far as runs of its kind support
    it: no more than `SURE` where none does. None where no GPU is named.
    """
    gpu, found = planned.job.gpu, MEMORIES.get(kind_of(planned.job), _NONE)
    if gpu is None or planned.chance is None:
        return None
    margin = (gpu.capacity_bytes - planned.beside_bytes) / planned.needed_bytes
    return min(planned.chance, SURE if framework in UNTESTED else max(SURE, found.support(margin)))


def shown_words(job: Job) -> str:
    """Return how many runs of the same kind the band of GPU memory held."""
    found = FITS_OF.get(kind_of(job))
    if not found or found.shown < FEWEST:
        return f"too few runs {KINDS[kind_of(job)]} print what their GPU showed to count them"
    return f"in which {found.inside} of {found.shown} published runs {KINDS[kind_of(job)]} lie"


def fits_words(job: Job) -> str:
    """Return how far memory and verdicts of published runs of the same kind were off."""
    kind = kind_of(job)
    if kind == "apple":
        return f"No verdict on a GPU of Apple was compared with a run: {_WHY[kind]}."
    found, verdicts = MEMORIES.get(kind, _NONE), FITS_OF.get(kind)
    many = "1 peak was" if found.runs == 1 else f"{found.runs} peaks were"
    text = f"{many} published {KINDS[kind]}, too few to say how right this is."
    if not found.runs:
        text = f"No peak was published {KINDS[kind]} to say how right this is."
    if found.runs >= FEWEST:
        text = (
            f"Of {found.runs} published peaks {KINDS[kind]} half were within"
            f" {_percent(found.half)} and nine in ten within {_percent(found.most)}."
        )
    return f"{text} {verdicts.text(KINDS[kind])}" if verdicts else text

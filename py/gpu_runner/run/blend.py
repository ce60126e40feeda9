"""Blend what a run trained with what it began from: θ₀ + α (θ* − θ₀).

Wortsman et al., "Robust fine-tuning of zero-shot models" (arXiv 2109.01903), and Lin et al. (arXiv
2309.06256), who find it the best trade between a task and what was known. Every α is scored on the
run's own held-out sets. The one that is chosen is not worse on the task than the trained model by
more than the noise of the examples (a paired bootstrap), and has the largest share of right answers
on the task and on what the model knew together; where no answers are counted, the lowest general
loss of those that keep GAIN of the gain on the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.data import run_data
from gpu_runner.data.dataset import GENERAL, TASK
from gpu_runner.data.encode import pad_token
from gpu_runner.errors import CheckpointError, UsageError
from gpu_runner.model.load import DTYPES
from gpu_runner.model.save import save
from gpu_runner.plan.machine import choose_precision
from gpu_runner.run.directory import read_config
from gpu_runner.run.run_models import RunModel, load_initial, load_trained
from gpu_runner.text import printable, sentence
from gpu_runner.train.evaluate import Evaluator, Score
from unfrozen.bootstrap import paired_difference

POINTS: Final = 11
BOUNDS: Final = (2, 101)
GAIN: Final = 0.95
"""Of the fall of the task loss."""


@dataclass(frozen=True, slots=True)
class BlendPoint:
    """The scores of one α."""

    alpha: float
    scores: tuple[Score, ...]

    def score(self, suite: str) -> Score | None:
        """Return the score of a set; None where the run has no such set."""
        return next((one for one in self.scores if one.suite == suite), None)

    @property
    def task(self) -> Score:
        """The score of the task. Raises `CheckpointError` where the run has none."""
        found = self.score(TASK)
        if found is None:
            raise CheckpointError("the run has no held-out examples of its task: give --alpha.")
        return found

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data: of each set its loss, and how many answers of how many."""
        sets = {}
        for one in self.scores:
            exact = one.exact
            right, total = (exact.right, sum(exact)) if exact else (None, None)
            sets[one.suite] = {"loss": one.loss, "exact": right, "of": total}
        return {"alpha": self.alpha, "sets": sets}


@dataclass(frozen=True, slots=True)
class Blend:
    """The curve over α, the chosen α, why, and where its model is."""

    curve: tuple[BlendPoint, ...]
    alpha: float
    reason: str
    model: Path | None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "curve": [point.as_json() for point in self.curve],
            "alpha": self.alpha,
            "reason": self.reason,
            "model": None if self.model is None else str(self.model),
        }


@dataclass(frozen=True, slots=True)
class BlendOptions:
    """Which checkpoint, how many values of α, which one to save, and where.

    step    None: the trained model
    points  values of α from 0 to 1
    alpha   None: chosen by the scores
    out     None: `blend/` in the run
    """

    step: int | None = None
    points: int = POINTS
    alpha: float | None = None
    out: Path | None = None

    def check(self) -> None:
        """Raise `UsageError` for a value out of bounds, or a directory that exists."""
        low, high = BOUNDS
        if not low <= self.points <= high:
            raise UsageError(
                f"--points {self.points} is out of bounds: give a number from {low} to {high}."
            )
        if self.alpha is not None and not 0 <= self.alpha <= 1:  # NaN neither
            raise UsageError(
                f"--alpha {self.alpha} is out of bounds: give a number from 0 (the model before)"
                " to 1 (the trained one)."
            )
        if self.out is not None and self.out.exists():
            raise UsageError(f"--out {self.out} exists already: give another directory.")


def blend(
    run: Path,
    options: BlendOptions,
    device: torch.device,
    *,
    trusted: bool = False,
    report: Callable[[float], None] = lambda _: None,
) -> Blend:
    """Score blends of a run's model with θ₀, and write the chosen one as a model directory.

    Three models are in memory: θ₀, θ* and their blend. `report` is called with each α before it is
    scored. Raises `UsageError`, `CheckpointError`, `ModelLoadError`, `DataError`, `SystemFailure`.
    """
    options.check()
    after = load_trained(run, options.step, device, trusted=trusted)
    before = load_initial(run, device, trusted=trusted)
    _check_same(before, after)
    evaluator = _evaluator(run, after, device)
    mixed = deepcopy(after.model)
    alphas = {index / (options.points - 1) for index in range(options.points)}
    alphas |= {0.0, 1.0} | ({options.alpha} if options.alpha is not None else set())
    curve = []
    for alpha in sorted(alphas):
        report(alpha)
        mix(before.model, after.model, mixed, alpha)
        curve.append(BlendPoint(alpha, tuple(evaluator.run(mixed))))
    chosen, reason = (
        (options.alpha, "as --alpha says") if options.alpha is not None else (choose(curve))
    )
    mix(before.model, after.model, mixed, chosen)
    place = options.out or run / "blend"
    fill = partial(save, mixed, after.tokenizer)
    return Blend(tuple(curve), chosen, reason, checkpoint.publish(place, fill, private=False).path)


@torch.no_grad()
def mix(before: Any, after: Any, into: Any, alpha: float) -> None:
    """Set the parameters of `into` to before + α (after − before), in fp32, then their own dtype.

    At 0 and 1 they are those of the one or the other to the last bit.
    """
    pairs = zip(before.parameters(), after.parameters(), into.parameters(), strict=True)
    for start, end, target in pairs:
        if alpha in (0.0, 1.0):
            target.copy_(end if alpha else start)
        else:
            target.copy_(torch.lerp(start.float(), end.float(), alpha))


def choose(curve: Sequence[BlendPoint]) -> tuple[float, str]:
    """Return the α of a curve from 0 to 1 that is chosen, and why.

    Raises `CheckpointError` where the run has no task to score.
    """
    first, last = curve[0], curve[-1]
    if last.task and last.score(GENERAL) is None:
        return 1.0, "the run has no general set, so that nothing is known to be won back"
    good = [point for point in curve if _keeps_task(first, last, point)]
    best = min(reversed(good), key=_rank)  # of equals, that which learned most
    if best is last:
        return 1.0, "no smaller α is as good on the task and better on what the model knew"
    return best.alpha, f"{_change(last, best, TASK)}, {_change(last, best, GENERAL)} against α = 1"


def _keeps_task(first: BlendPoint, last: BlendPoint, point: BlendPoint) -> bool:
    """Return whether a blend is no worse on the task than the trained model, within the noise.

    Answers count where they are counted: losses near 0 differ by amounts that change none of them.
    """
    start, end, one = first.task, last.task, point.task
    if not end.row_right:
        return start.loss - one.loss >= GAIN * (start.loss - end.loss)
    wrong = ([float(not right) for right in each.row_right] for each in (end, one))
    return paired_difference(*wrong).low <= 0


def _rank(point: BlendPoint) -> tuple[float, float]:
    """Return what orders blends: less is better."""
    task, general = point.task, point.score(GENERAL)
    assert general is not None
    if task.exact is None or general.exact is None:
        return 0.0, general.loss
    shares = sum(one.right / sum(one) for one in (task.exact, general.exact))
    return -shares, general.loss


def _change(last: BlendPoint, best: BlendPoint, suite: str) -> str:
    """Describe how a set is answered by a blend, and how by the trained model."""
    one, other = last.score(suite), best.score(suite)
    assert one is not None
    assert other is not None
    if one.exact is None or other.exact is None:
        return f"{suite} {other.loss - one.loss:+.3f} nats"
    return f"{suite} {other.exact.right} of {sum(other.exact)} right for {one.exact.right}"


def _check_same(before: RunModel, after: RunModel) -> None:
    """Raise `CheckpointError` where the models have other parameters."""
    shapes = [[(n, p.shape) for n, p in each.model.named_parameters()] for each in (before, after)]
    if shapes[0] != shapes[1]:
        raise CheckpointError(
            f"{before.name} and {after.name} have other parameters: the model that the run began"
            " with has changed. Put it back as it was."
        )


def _evaluator(run: Path, asked: RunModel, device: torch.device) -> Evaluator:
    """Return what scores a run's held-out sets as the run did."""
    config = read_config(run)
    _, suites = run_data.load_datasets(config, asked.encoder)
    compute = choose_precision(config, device)
    narrow = compute != config.params
    cast = partial(torch.autocast, device.type, dtype=DTYPES[compute]) if narrow else nullcontext
    batch = config.micro_batch
    return Evaluator(suites, batch, pad_token(asked.tokenizer), device, cast)


def show_blend(console: Console, found: Blend) -> None:
    """Print the curve, a line an α, and what was written."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("α", style="dim")
    for score in found.curve[0].scores:
        table.add_column(printable(score.suite), justify="right")
    for point in found.curve:
        row = [_format(score) for score in point.scores]
        table.add_row(
            f"{point.alpha:.2f}", *row, style="bold" if point.alpha == found.alpha else ""
        )
    console.print(table)
    text = f"α = {found.alpha:g}: {found.reason}. Its model is in {found.model}."
    sentence(console, Text(printable(text)))


def _format(score: Score) -> str:
    answers = "" if score.exact is None else f"{score.exact.right}/{sum(score.exact)}  "
    return f"{answers}{score.loss:.3f}"

"""Blend what a run trained with what it began from: θ₀ + α (θ* − θ₀).

Wortsman et al., "Robust fine-tuning of zero-shot models" (arXiv 2109.01903), and Lin et al. (arXiv
2309.06256), who find it the best trade between a task and what was known. Every α is scored on the
run's own held-out sets. One may be chosen that is not worse on the task than the trained model by
more than the noise of the examples, and is better beyond it on what the model knew. Of these it has
the largest share of right answers on the task and on what the model knew together; where no answers
are counted, the lowest general loss of those that keep GAIN of the gain on the task. Where there is
none, no model is written.

Where asked, θ* is first averaged over the last checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner import atomic
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint import training_state
from gpu_runner.data import run_data
from gpu_runner.data.dataset import GENERAL, TASK
from gpu_runner.data.encode import pad_token
from gpu_runner.errors import CheckpointError, UsageError
from gpu_runner.log.tail import LOG_NAME, last_event
from gpu_runner.log.writer import log_later
from gpu_runner.model.load import DTYPES
from gpu_runner.model.save import save
from gpu_runner.plan.machine import choose_precision
from gpu_runner.run.directory import CHECKPOINTS, read_config
from gpu_runner.run.model_card import LoggedRun, write_card
from gpu_runner.run.run_models import (
    RunModel,
    last_step,
    load_initial,
    load_trained,
    model_place,
    steps_on_disk,
)
from gpu_runner.text import counted, printable, sentence, with_interval
from gpu_runner.train.evaluate import (
    Evaluator,
    Score,
    change_of,
    describe_score,
    format_score,
    has_answers,
)
from gpu_runner.train.reference import HeldOutReference
from gpu_runner.world import World
from unfrozen.held_out import paired_difference

POINTS: Final = 11
BOUNDS: Final = (2, 101)
GAIN: Final = 0.95
"""The share of the fall of the task loss that a blend must keep."""
_ANYWAY: Final = "; --alpha writes one anyway"
TOLD_TOGETHER: Final = 32
"""Points in a line of the log."""
MOST_TOLD: Final = 1000
"""Characters of a sentence there."""


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

    def as_json(self, trained: BlendPoint) -> dict[str, Any]:
        """Return it as plain data: of each set its loss, how many answers of how many, the change.

        `trained` is the model as the run left it.
        """
        sets = {s.suite: describe_score(s, trained.scores, self.scores) for s in self.scores}
        return {"alpha": self.alpha, "sets": sets}


@dataclass(frozen=True, slots=True)
class Blend:
    """The curve over α, the chosen α, why, and where its model is; none where none is good enough.

    trained   the model as the run left it
    averaged  the steps whose mean θ* is, if it is one
    ema       whether θ* is the moving average of the weights
    unlogged  why the run's log does not have it; "" if it has
    """

    curve: tuple[BlendPoint, ...]
    trained: BlendPoint
    alpha: float | None
    reason: str
    model: Path | None
    averaged: tuple[int, ...] = ()
    ema: bool = False
    unlogged: str = ""

    def sentences(self) -> str:
        """Return what was chosen, how θ* was made, and where its model is, for a person."""
        chosen = f"α = {self.alpha:g}: {self.reason}. Its model is in {self.model}."
        if self.alpha is None:
            chosen = f"No α is chosen, and no model is written: {self.reason}."
        shown = [f"The page does not show it: {self.unlogged}."] if self.unlogged else []
        return " ".join([*self._made(), chosen, *shown])

    def _made(self) -> list[str]:
        steps = ", ".join(map(str, self.averaged))
        made = [f"θ* is the mean of steps {steps}."] if self.averaged else []
        made += ["θ* is the moving average of the weights."] if self.ema else []
        return made

    def how(self, options: BlendOptions) -> str:
        """Return in a few words what was blended; "" for θ₀ with the trained model alone."""
        averaged = f"mean of steps {', '.join(map(str, self.averaged))}" if self.averaged else ""
        return "; ".join(
            text
            for text in (
                averaged or (f"step {options.step}" if options.step is not None else ""),
                "moving average" if self.ema else "",
            )
            if text
        )

    def recipe(self) -> str:
        """Return how the weights were made, for the card of the model."""
        text = f"Its weights are θ₀ + {self.alpha:g} (θ* − θ₀): {self.reason}."
        return " ".join([text, *self._made()])

    def events(self, how: str) -> Iterator[dict[str, Any]]:
        """Return what the run's log is told: some points in each, of the task and the general set.

        `how` says what was blended in which way; "" is θ₀ with the trained model.
        """
        found = self.as_json()
        points = found["curve"]
        if self.trained not in self.curve:
            points.append({"alpha": 1.0, "name": "the trained model", "sets": found["trained"]})
        for point in points:
            sets = point["sets"].items()
            point["sets"] = {name: each for name, each in sets if name in (TASK, GENERAL)}
        head = {"how": how[:MOST_TOLD], "chosen": self.alpha, "reason": self.reason[:MOST_TOLD]}
        for start in range(0, len(points), TOLD_TOGETHER):
            yield head | {"begins": not start, "points": points[start : start + TOLD_TOGETHER]}

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "curve": [point.as_json(self.trained) for point in self.curve],
            "alpha": self.alpha,
            "reason": self.reason,
            "model": None if self.model is None else str(self.model),
            "trained": self.trained.as_json(self.trained)["sets"],
            "averaged": list(self.averaged),
            "ema": self.ema,
        }


@dataclass(frozen=True, slots=True)
class BlendOptions:
    """Which checkpoint, how many values of α, which one to save, and where.

    step     None: the trained model
    points   values of α from 0 to 1
    alpha    None: chosen by the scores
    out      None: `blend/` in the run
    last     how many of the newest checkpoints θ* is the mean of
    ema      whether θ* is the moving average of the weights
    """

    step: int | None = None
    points: int = POINTS
    alpha: float | None = None
    out: Path | None = None
    last: int | None = None
    ema: bool = False

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
        if self.last is not None and self.last < 2:
            raise UsageError(f"--last {self.last} is out of bounds: give 2 checkpoints or more.")
        if self.last is not None and (self.step is not None or self.ema):
            other = "--ema" if self.ema else "--step"
            raise UsageError(f"--last takes the newest checkpoints: leave out {other}.")
        if self.out is not None and self.out.exists():
            raise UsageError(f"--out {self.out} exists already: give another directory.")


def blend(
    run: Path,
    options: BlendOptions,
    device: torch.device,
    *,
    trusted: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Blend:
    """Score blends of a run's model with θ₀, and write the chosen one as a model directory.

    Three models are in memory: θ₀, θ* and their blend. `report` is called with what is scored. What
    is found goes into the run's log too, unless the run is training.
    Raises `UsageError`, `CheckpointError`, `ModelLoadError`, `DataError`, `SystemFailure`.
    """
    options.check()
    with TemporaryDirectory(prefix="unfrozen-") as noted:
        return _blend(run, options, device, Path(noted), trusted=trusted, report=report)


def _blend(
    run: Path,
    options: BlendOptions,
    device: torch.device,
    noted: Path,
    *,
    trusted: bool,
    report: Callable[[str], None],
) -> Blend:
    after = load_trained(run, options.step, device, trusted=trusted, averaged=options.ema)
    before = load_initial(run, device, trusted=trusted)
    _check_same(before, after)
    checkpoint.check_room(options.out or run / "blend", after.model)
    evaluator = _evaluator(run, after, device, noted)
    averaged = _newest(run, options.last)
    scorer = _Scorer(before.model, after.model, evaluator, report)
    begins = scorer.score(0.0)  # first: what θ₀ holds likeliest is noted, for the KL of others
    trained = logged_end(run, options, begins, device) or scorer.score(1.0)
    _average(run, averaged, after, device, trusted=trusted)
    known = {0.0: begins} if averaged else {0.0: begins, 1.0: trained}
    alphas = {index / (options.points - 1) for index in range(options.points)}
    alphas |= {0.0, 1.0} | ({options.alpha} if options.alpha is not None else set())
    curve = [known.get(alpha) or scorer.score(alpha) for alpha in sorted(alphas)]
    chosen, reason = (
        (options.alpha, "as --alpha says") if options.alpha is not None else choose(curve, trained)
    )
    place = None
    if chosen is not None:
        scorer.mix(chosen)
        place = options.out or run / "blend"
    found = Blend(tuple(curve), trained, chosen, reason, place, averaged, options.ema)
    if place is not None:

        def fill(directory: Path) -> None:
            save(scorer.mixed, after.tokenizer, directory)
            scores = next(point.scores for point in curve if point.alpha == chosen)
            write_card(directory, run, found.recipe(), scores, f"{run.name}-blend")

        atomic.publish(place, fill, private=False)
    at = options.step or last_step(run, model_place(run))
    problem = log_later(run, "blend", at, found.events(found.how(options)))
    return replace(found, unlogged=problem)


class _Scorer:
    """Mixes two models into a third, and scores that."""

    def __init__(
        self, before: Any, after: Any, evaluator: Evaluator, report: Callable[[str], None]
    ) -> None:
        self.before, self.after, self.mixed = before, after, deepcopy(after)
        self.evaluator, self.report = evaluator, report

    def mix(self, alpha: float) -> None:
        """Set the third model."""
        mix(self.before, self.after, self.mixed, alpha)

    def score(self, alpha: float) -> BlendPoint:
        """Return the scores of one blend."""
        self.report(f"α = {alpha:.2f}")
        self.mix(alpha)
        return BlendPoint(alpha, tuple(self.evaluator.run(self.mixed)))


def _newest(run: Path, last: int | None) -> tuple[int, ...]:
    """Return the steps of the newest checkpoints, the newest last. Raises `UsageError` for fewer.

    The newest is what the run trained.
    """
    if last is None:
        return ()
    steps = steps_on_disk(run)
    if len(steps) < last:
        raise UsageError(
            f"--last {last}: {run.name} has {counted(len(steps), 'checkpoint')}, of steps"
            f" {', '.join(map(str, steps))}. Train with --set keep_last={last} to keep more."
        )
    return tuple(steps[-last:])


@torch.no_grad()
def _average(
    run: Path, steps: tuple[int, ...], after: RunModel, device: torch.device, *, trusted: bool
) -> None:
    """Make θ* the mean of the models of these steps, itself the last; of none nothing changes."""
    sums = [parameter.double() for parameter in after.model.parameters() if steps]
    for step in steps[:-1]:
        other = load_trained(run, step, device, trusted=trusted)
        _check_same(other, after)
        for total, parameter in zip(sums, other.model.parameters(), strict=True):
            total += parameter
    for total, parameter in zip(sums, after.model.parameters(), strict=False):
        parameter.copy_(total / len(steps))


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


def choose(curve: Sequence[BlendPoint], trained: BlendPoint) -> tuple[float | None, str]:
    """Return the α of a curve from 0 to 1 that is chosen, and why; None where none is good enough.

    Raises `CheckpointError` where the run has no task to score.
    """
    if trained.task and trained.score(GENERAL) is None:
        return None, f"the run has no general set, on which something could be won back{_ANYWAY}"
    good = [point for point in curve if _keeps_task(curve[0], trained, point)]
    if not good:
        return None, f"none is as good on the task as the trained model{_ANYWAY}"
    better = [point for point in good if _wins_back(trained, point)]
    if not better:
        best = min(reversed(good), key=_rank)
        said = f"α = {best.alpha:g} has {_change(trained, best, GENERAL)}"
        none = "none as good on the task is better on what the model knew beyond the noise"
        return None, f"{none} of its examples ({said}){_ANYWAY}"
    best = min(reversed(better), key=_rank)  # of equals, that which learned most
    moved = "; ".join(_change(trained, best, suite) for suite in (TASK, GENERAL))
    return best.alpha, f"{moved} against the trained model"


def _keeps_task(first: BlendPoint, last: BlendPoint, point: BlendPoint) -> bool:
    """Return whether a blend is no worse on the task than the trained model, within the noise.

    Answers count where some are right: losses near 0 differ by amounts that change none of them.
    """
    start, end, one = first.task, last.task, point.task
    if not any(end.row_right):
        return start.loss - one.loss >= GAIN * (start.loss - end.loss)
    wrong = ([float(not right) for right in each.row_right] for each in (end, one))
    more = paired_difference(*wrong)
    return more is not None and more.low <= 0


def _wins_back(trained: BlendPoint, point: BlendPoint) -> bool:
    """Return whether a blend knows more of what the model knew, beyond the noise."""
    gained = change_of(trained.scores, point.scores, GENERAL)
    if gained is None:
        return False
    return gained.low > 0 if has_answers(point.scores, GENERAL) else gained.high < 0


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
    moved = change_of(last.scores, best.scores, suite)
    if one.exact is None or other.exact is None:
        return f"{suite} {with_interval(other.loss - one.loss, moved, '+')} nats"
    right = f"{other.exact.right} of {sum(other.exact)} right"
    if other.exact.right == one.exact.right:
        return f"{suite} {right} in both, loss {other.loss:.3f} instead of {one.loss:.3f}"
    right += f" instead of {one.exact.right}"
    change = f", a change in share of {with_interval(moved.mean, moved, '+')}" if moved else ""
    return f"{suite} {right}{change}"


def _check_same(before: RunModel, after: RunModel) -> None:
    """Raise `CheckpointError` where the models have other parameters."""
    shapes = [[(n, p.shape) for n, p in each.model.named_parameters()] for each in (before, after)]
    if shapes[0] != shapes[1]:
        raise CheckpointError(
            f"{before.name} and {after.name} have other parameters: the model that the run began"
            " with has changed. Put it back as it was."
        )


def _evaluator(run: Path, asked: RunModel, device: torch.device, noted: Path) -> Evaluator:
    """Return what scores a run's held-out sets as the run did, and notes θ₀'s likeliest tokens."""
    config = read_config(run)
    _, suites = run_data.load_datasets(config, asked.encoder)
    compute = choose_precision(config, device)
    narrow = compute != config.params
    cast = partial(torch.autocast, device.type, dtype=DTYPES[compute]) if narrow else nullcontext
    batch = config.micro_batch
    reference = HeldOutReference(noted, World(), suites)
    return Evaluator(suites, batch, pad_token(asked.tokenizer), device, cast, reference=reference)


def logged_end(
    run: Path, options: BlendOptions, begins: BlendPoint, device: torch.device
) -> BlendPoint | None:
    """Return what the run has logged of its model; None where that might be of other rows.

    `begins` is θ₀, scored on the rows of now.

    The log tells the fingerprints of the held-out sets, a checkpoint the device; nothing is taken
    from a resumed run, nor of a moving average.
    """
    newest, _ = checkpoint.newest(run / CHECKPOINTS)
    last = last_event(run / LOG_NAME)
    if newest is None or last is None or last["att"] or options.ema:
        return None
    *_, origins = training_state.parse_state(newest, training_state.read_state(newest))
    if origins.computed.get("device") != device.type:
        return None
    logged = LoggedRun.read(run)
    end = logged.task_loss if options.step is None else None
    at = last_step(run, model_place(run, options.step))
    tasks = {n: one[TASK].loss for n, one in logged.scores.items() if n <= at and TASK in one}
    scores = logged.scores.get(max((n for n, loss in tasks.items() if loss == end), default=at), {})
    found = tuple(scores[one.suite] for one in begins.scores if _is_of(one, scores.get(one.suite)))
    return BlendPoint(1.0, found) if len(found) == len(begins.scores) else None


def _is_of(one: Score, logged: Score | None) -> bool:
    """Return whether a logged score is of the same examples, and tells as much of each."""
    if logged is None or logged.kl is None or logged.examples != one.examples:
        return False
    return len(logged.row_losses) == len(one.row_losses)


def show_blend(console: Console, found: Blend) -> None:
    """Print the curve, a line an α, and what was written."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("α", style="dim")
    for score in found.trained.scores:
        table.add_column(printable(score.suite), justify="right")
    lines = [(f"{point.alpha:.2f}", point) for point in found.curve]
    if found.trained not in found.curve:
        lines.append(("trained", found.trained))
    for label, point in lines:
        chosen = point.alpha == found.alpha and point in found.curve
        table.add_row(label, *map(format_score, point.scores), style="bold" if chosen else "")
    console.print(table)
    sentence(console, Text(printable(found.sentences())))

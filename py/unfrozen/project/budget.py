"""Which GPUs, and how many of them, for an amount of money.

Asked are the named GPU, or every GPU whose price is known, in powers of two. The plan taken is the
one that ends soonest within the money; of those that end within `SOON` hours the cheapest, because
renting and starting machines then takes longer than the run.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.hardware import Gpu
from unfrozen.hardware import find as find_gpu
from unfrozen.hardware.flavors import PRICES, PRICES_OF, usual_price
from unfrozen.plan.compute import Estimate
from unfrozen.planner.state import MOST_BUDGET
from unfrozen.project.best import STAGES, PlanSteps, Stages, TrainingProject, find
from unfrozen.project.changes import ON_GPU
from unfrozen.units import format_duration

COUNTS: Final = (1, 2, 4, 8, 16, 32, 64)
SOON: Final = 1.0


class _Offer(NamedTuple):
    """A question about some GPUs, and time and cost of its answer."""

    question: TrainingProject
    run: Estimate

    @property
    def cost(self) -> float:
        return self.run.cost or 0.0


def rent(budget: float, question: TrainingProject, gpu: Gpu | None) -> PlanSteps:
    """Find the answer on the GPUs that end soonest within a budget: so many of `gpu`, or of any
    whose price is known. The budget is in the currency of the question's price, else in dollars.

    Raises PlanError for no money, and where the cheapest run costs more: both say what it costs.
    """
    if question.data is None:
        bound = "a budget is for a run, and nothing says how long it is"
        raise PlanError("data", "nothing", bound, "give --data FILE, or rows × epochs × length")
    if not budget <= MOST_BUDGET:  # a NaN is not in it either
        raise PlanError("budget", budget, f"it is at most {MOST_BUDGET:,}", "correct it")
    asked = _questions(question, gpu)
    offers: list[_Offer] = []
    for stages in ((ON_GPU,), STAGES):
        offers = offers or (yield from _offers(asked, stages, budget))
    if not offers:
        bound = f"no layout of up to {COUNTS[-1]} GPUs holds {question.job.recipe.method} training"
        raise PlanError("budget", budget, bound, "use a smaller model or adapters")
    paid = [one for one in offers if one.cost <= budget]
    if not paid:
        raise _too_small(budget, min(offers, key=lambda one: one.cost))
    soon = [one for one in paid if one.run.seconds <= 3600 * SOON]
    cheapest = min(soon or paid, key=lambda one: one.cost)
    soonest = min(paid, key=lambda one: one.run.seconds)
    return (yield from find((cheapest if soon else soonest).question))


def _too_small(budget: float, cheapest: _Offer) -> PlanError:
    gpus = f"{cheapest.question.gpus} × {cheapest.run.gpu}"
    hours = format_duration(cheapest.run.seconds)
    bound = f"the cheapest full fine-tuning costs {cheapest.cost:,.2f}: {hours} on {gpus}"
    remedy = (
        'give that much, train fewer rows or epochs, or plan LoRA: --recipe \'{"method": "lora"}\''
    )
    return PlanError("budget", budget, bound, remedy)


def _questions(question: TrainingProject, gpu: Gpu | None) -> list[TrainingProject]:
    """Return the question for each GPU that may be rented, with its price."""
    if gpu is None and question.price is not None:
        bound = "it is the price of one kind of GPU"
        raise PlanError("price", question.price, bound, "name that: --gpu H100")
    found = []
    for one in [gpu] if gpu else map(find_gpu, PRICES):
        price = usual_price(one) if question.price is None else question.price
        if price is None:
            known = f"{', '.join(PRICES)} are, of {PRICES_OF}"
            bound = f"nobody's price of a {one.name} is known here ({known})"
            raise PlanError("price", "nothing", bound, "give it: --price 0.50")
        found.append(replace(question, job=question.job.on(one)))
    return found


def _offers(
    questions: Sequence[TrainingProject], stages: Stages, budget: float
) -> Generator[None, None, list[_Offer]]:
    """Find what more and more of each GPU take, until more of them only cost more."""
    found = []
    for question in questions:
        over = 0
        for gpus in COUNTS:
            asked = replace(question, gpus=gpus)
            first = (yield from find(asked, beside=False, stages=stages)).first
            if first is None or first.run is None:
                continue
            offer = _Offer(asked, first.run)
            found.append(offer)
            over += offer.cost > budget
            if over == 2 or (offer.cost <= budget and offer.run.seconds <= 3600 * SOON):
                break
    return found

"""Inverse questions of the command line, answered as data and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from unfrozen.answer.text import solved_text as largest_text
from unfrozen.errors import PlanError
from unfrozen.frameworks.known import FRAMEWORKS, LAUNCHED
from unfrozen.frameworks.table import layouts_data, layouts_text, mesh, spread
from unfrozen.job import Job
from unfrozen.plan import Plan, card_words
from unfrozen.plan.layouts import Layout, fewest_cards, layouts
from unfrozen.plan.solve import MOST, largest, min_gpus
from unfrozen.plan.step_time import card_of

KEYS: Final = (*MOST, "gpus", "layout")
MOST_PRICE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Inverse:
    """What is solved, one of KEYS; of layouts, for how many cards (None: the job's) and sequences
    of a step (None: the job's, in proportion), run by whom, and what a card costs an hour.
    """

    key: str
    gpus: int | None = None
    sequences: int | None = None
    run_by: str | None = None
    price: float | None = None


def solved_data(planned: Plan, asked: Inverse) -> dict[str, Any]:
    """The answer under the key that was asked for. Raises PlanError as the solvers do."""
    if asked.key == "layout":
        return {"layout": layouts_data(_layouts(planned, asked), asked.price)}
    if asked.key != "gpus":
        return {asked.key: largest(planned, asked.key)}
    found = fewest_cards(planned)
    count = found.cluster.gpus if found else 0
    return {"gpus": count, "cluster": asdict(found.cluster) if found else None}


def solved_text(planned: Plan, asked: Inverse) -> str:
    """The answer in words. Raises PlanError as the solvers do."""
    if asked.key == "layout":
        found = _layouts(planned, asked)
        gpus, by = _cards(planned, asked), _by(planned, asked)
        return layouts_text(planned.job, gpus, found, by, asked.price)
    if asked.key == "gpus":
        return fewest_text(planned, fewest_cards(planned))
    return largest_text(planned, asked.key, largest(planned, asked.key))


def fewest_text(planned: Plan, found: Job | None) -> str:
    """The fewest cards in a sentence, and how they share the job where that is not as it is."""
    job, card = planned.job, card_of(planned.job)
    own = f"ZeRO-{job.cluster.stage}" if job.cluster.stage else "not sharded"
    if found is None:
        return f"No number of cards holds this job on the {card_words(card)}, however shared out."
    count = f"{found.cluster.gpus:,} × {card.name}"
    if found.cluster.stage == job.cluster.stage or found.cluster.alike == 1:
        return f"Fewest cards, {own}: {count}."
    if min_gpus(planned):
        return f"Fewest cards, ZeRO-3: {count}; {own}, no number of them holds the job."
    stage = spread(found)
    how = mesh(found) if stage == "–" else f"{mesh(found)}, ZeRO-{stage}"
    return f"Fewest cards: {count} ({how}); under ZeRO-3 alone, no number of them holds the job."


def _layouts(planned: Plan, asked: Inverse) -> list[Layout]:
    if asked.price is not None and not 0 <= asked.price <= MOST_PRICE:
        bound = f"it must lie in 0 … {MOST_PRICE:,}"
        raise PlanError("price", asked.price, bound, "correct it")
    by = _by(planned, asked)
    takes = FRAMEWORKS[by].takes if by else None
    return layouts(planned.job, _cards(planned, asked), asked.sequences, takes)


def _by(planned: Plan, asked: Inverse) -> str | None:
    """Who runs it: as asked, else whose defaults the job takes."""
    chosen = planned.job.framework
    return asked.run_by or (LAUNCHED.get(chosen.name) if chosen else None)


def _cards(planned: Plan, asked: Inverse) -> int:
    return planned.job.cluster.gpus if asked.gpus is None else asked.gpus

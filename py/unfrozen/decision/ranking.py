"""Which method comes first, and by which of five questions it beats the next.

    fits     can the cards train it?
    learns   has it room for what is to be learned?
    serves   do the same cards hold all tasks at once?
    worth    does it save enough card-hours? (where "good enough" is wanted)
    taste    what the reader wants, or else what has fewer parts

They are asked in this order, and the first that tells two methods apart decides between them.
"""

from __future__ import annotations

from typing import Final

from unfrozen.decision.choices import Choice
from unfrozen.decision.options import Option, options

WORTH_CARD_HOURS: Final = 1.0
"""Assumed: below this, saved card-hours are no reason. One costs a few dollars at most (H100s were
offered at 2 to 5 dollars an hour, A100s at 0.8 to 3, by Mercatus, cloud GPU pricing, May 2026),
less than the time in which somebody chooses a rank."""
TASTE: Final = {
    "enough": ("prompt", "full", "lora", "qlora"),  # fewer parts first
    "most": ("full", "lora", "qlora", "prompt"),
    "keep": ("prompt", "lora", "qlora", "full"),
}
"""What comes first among methods that can all do it. Full fine-tuning learned at least as much as
LoRA wherever Biderman et al. compared them, but for a thousandth on one set, and mostly forgot
more; a prompt changes no weight."""
QUESTIONS: Final = ("fits", "learns", "serves", "worth", "taste")

Key = tuple[bool, int, bool, float, int]


def ranked(choice: Choice) -> list[Option]:
    """The four methods, the best first."""
    found = options(choice)
    keys = sort_keys(found, choice.want)
    return sorted(found, key=lambda option: keys[option.key])


def sort_keys(found: list[Option], want: str) -> dict[str, Key]:
    """What each is ranked by; smaller is better. Costs within `WORTH_CARD_HOURS` of the cheapest
    that answers the first three questions alike count as equal.
    """
    keys: dict[str, Key] = {}
    for option in found:
        can = _can(option)
        alike = [each for each in found if _can(each) == can]
        least = min(each.card_hours for each in alike)
        dear = want == "enough" and option.card_hours > least + WORTH_CARD_HOURS
        keys[option.key] = (
            *can,
            option.card_hours if dear else 0.0,
            TASTE[want].index(option.key),
        )
    return keys


def _can(option: Option) -> tuple[bool, int, bool]:
    return not option.fits, option.lacks, not option.serves


def decided_by(better: Option, worse: Option, keys: dict[str, Key]) -> str:
    """The question that puts one before the other."""
    pairs = zip(QUESTIONS, keys[better.key], keys[worse.key], strict=True)
    return next(question for question, ours, theirs in pairs if ours != theirs)

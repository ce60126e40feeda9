"""Guesses before a run: a reader's number beside what the cell then published.

A cell's info string names one of `GUESSES`. The answer is read from the table and the plots that
this very run published, so that it is right for an edited cell too; where the cell no
longer publishes it, the sentence says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from unfrozen.errors import quote_value
from unfrozen.publish import Plot, Threshold, parse_plots, parse_table, plots_as_json
from unfrozen.units import NumberError, TypedNumber, parse_bytes, parse_number, sig3

Published = Mapping[str, str]
"""JSON text by the name it was published under: py_table_data, py_plot_data."""

_YOURS: Final = "Your guess"
_CLOSE: Final = 0.1
_TALLEST: Final = 3  # times what the plot shows: a higher guess is not drawn, only written


@dataclass(frozen=True, slots=True)
class Guess:
    """A question about a cell: `truth` returns its answer from what the cell published, or None.

    `unit` stands behind the field; `says` is a sentence with `{}` for the answer and its unit.
    """

    question: str
    unit: str
    says: str
    truth: Callable[[Published], float | None]


@dataclass(frozen=True, slots=True)
class Compared:
    """The page shows this answer: a sentence that compares, and the plots with the guess."""

    text: str
    plots_json: str | None


def compare(key: str, text: str, published: Published) -> Compared:
    """Return a guess, as typed, beside what was published. Raises KeyError for an unknown key."""
    guess = GUESSES[key]
    try:
        value = _in_unit(parse_number(text), guess.unit)
    except NumberError as unread:
        return Compared(f"Your guess: {unread}", None)
    plots = _marked(value, published)
    try:
        found = guess.truth(published)
    except (LookupError, ValueError, StopIteration):  # an edited cell may publish anything
        found = None
    return Compared(_compare(guess, value, found), plots)


def _in_unit(typed: TypedNumber, unit: str) -> float:
    """Return typed number in the unit that is asked for; NumberError for a unit of another kind."""
    if typed.unit in ("", unit):
        return typed.value
    try:
        return typed.value * parse_bytes(f"1 {typed.unit}") / parse_bytes(f"1 {unit}")
    except ValueError:
        problem = f"{quote_value(typed.unit)} does not fit here: this guess is in {unit}."
        raise NumberError(problem) from None


def _compare(guess: Guess, value: float, found: float | None) -> str:
    yours = f"Your guess: {_amount(value, guess.unit)}."
    if found is None:
        return f"{yours} The cell no longer publishes what was asked: compare it with the figure."
    return f"{yours} {guess.says.format(_amount(found, guess.unit))}{_nearness(value, found)}"


def _nearness(guessed: float, found: float) -> str:
    """Return the distance of a guess from the truth, as the end of a sentence."""
    if guessed <= 0 or found <= 0:
        return "."
    off = abs(guessed / found - 1)
    if off <= _CLOSE:
        return ": you were close."
    where = "above" if guessed > found else "below"
    factor = max(guessed / found, found / guessed)
    apart = f"a factor of {sig3(factor)}" if factor >= 2 else f"{100 * off:.0f}%"
    return f": your guess lies {where} it, by {apart}."


def _amount(value: float, unit: str) -> str:
    text = sig3(value)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text}%" if unit == "%" else f"{text}\u00a0{unit}"


def _marked(value: float, published: Published) -> str | None:
    """Return the published plots with the guess in the first of them."""
    plots = parse_plots(published["py_plot_data"]) if "py_plot_data" in published else []
    if not plots or value <= 0:
        return None
    return plots_as_json([_level(plots[0], value), *plots[1:]])


def _level(plot: Plot, value: float) -> Plot:
    """Return the plot with a level at the guess, unless it would flatten everything else."""
    heights = [[y or 0 for y in line.data] for line in plot.lines]
    columns = zip(*heights, strict=True)
    top = max((sum(c) if plot.type == "stacked_bar" else max(c) for c in columns), default=0)
    if value > _TALLEST * top:
        return plot
    return replace(plot, thresholds=(*plot.thresholds, Threshold(_YOURS, value)))


def _line(plot: Plot, label: str) -> tuple[float | None, ...]:
    """Return the data of the line of this label; LookupError where there is none."""
    return {line.label: line.data for line in plot.lines}[label]


def _at(label: str, x: float) -> Callable[[Published], float | None]:
    """Return a reader of the value of a line at one x."""

    def read(published: Published) -> float | None:
        plot = parse_plots(published["py_plot_data"])[0]
        return _line(plot, label)[plot.x_data.index(x)]

    return read


def _cell(row_starts: Callable[[str], bool]) -> Callable[[Published], float | None]:
    """Return a reader of the last cell of the first row whose first cell `row_starts` accepts."""

    def read(published: Published) -> float | None:
        rows = parse_table(published["py_table_data"]).rows
        found = next(row[-1] for row in rows if row_starts(str(row[0])))
        return parse_number(str(found)).value

    return read


GUESSES: Final[dict[str, Guess]] = {
    "one-by-one": Guess(
        "where does the step peak when eight examples go through one by one?",
        "GB",
        "One by one, eight examples peak at {}",
        _at("One by one", 8),
    ),
    "moves": Guess(
        "at a rate of 2 × 10⁻⁵, how many of the weights move?",
        "%",
        "At that rate {} of the weights move",
        _cell(lambda first: parse_number(first).value == 2e-5),
    ),
    "shared-out": Guess(
        "sharded by ZeRO-3, what does each of 64 GPUs hold?",
        "GiB",
        "Each of the 64 GPUs holds {}",
        _at("ZeRO-3", 64),
    ),
    "adapters": Guess(
        "what does the same 7B model take when LoRA trains it?",
        "GB",
        "With LoRA it takes {}",
        _cell(lambda first: first == "LoRA 7B"),
    ),
}
"""Every guess a cell may ask for, by the key its info string gives."""

"""Prose with a number to pull: every sentence it can say is computed here, none in the browser.

    ::: slider N in sizes from 7e9 as count: Parameters
    A model of {{ count(N) }} parameters needs {{ gb(16 * N) }}.
    :::

Behind the word stand, for each slider, a name, a list of its stops, the stop it starts at, the
format its value is spoken in, and its label; a semicolon parts two of them. Every `{{ … }}` inside
that changes with a stop becomes a hole; the page carries what each hole says at each stop, and
`<prose-slider>` looks it up. Without scripts the sentence stands as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from itertools import product
from typing import Any, Final

from site_builder.cells import embedded_json
from site_builder.errors import SiteError
from site_builder.facts import Facts

MOST_SENTENCES: Final = 200
_PART = re.compile(r"(\w+) in (.+?) from (.+?) as (\w+): (.+)")


@dataclass(frozen=True, slots=True)
class Slider:
    """One slider: the name it sets, its stops, where it starts, how each stop is spoken."""

    name: str
    label: str
    stops: list[Any]
    start: int
    words: list[str]


@dataclass
class Sliding:
    """A block while it is printed: its sliders, and what its holes say at every combination."""

    sliders: list[Slider]
    facts: Facts
    holes: list[list[str]] = field(default_factory=list)

    @classmethod
    def parse(cls, info: str, facts: Facts, where: str) -> Sliding:
        """Read the line behind the colons; raises SiteError that says how to write it."""
        sliders = [_slider(part.strip(), facts, where) for part in info.split(";")]
        sliding = cls(sliders, facts)
        count = len(sliding.combinations)
        if count > MOST_SENTENCES:
            problem = f"has {count} sentences, {MOST_SENTENCES} at most: give it fewer stops"
            raise SiteError(where, f"::: slider {problem}")
        return sliding

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """The names at every combination of stops, the last slider changing first."""
        names = [slider.name for slider in self.sliders]
        stops = product(*(slider.stops for slider in self.sliders))
        return [dict(zip(names, values, strict=True)) for values in stops]

    @property
    def start(self) -> int:
        """Which combination is printed."""
        index = 0
        for slider in self.sliders:
            index = index * len(slider.stops) + slider.start
        return index

    def hole(self, expression: str, where: str) -> str:
        """What an expression says at the start, in a hole if it says something else elsewhere."""
        said = [self.facts.value(expression, where, names) for names in self.combinations]
        shown = escape(said[self.start], quote=False)
        if len(set(said)) == 1:
            return shown
        self.holes.append(said)
        return f'<span class="slid">{shown}</span>'

    def close(self, where: str) -> str:
        """What stands behind the text: the place of the controls, and every sentence as data."""
        if not self.holes:
            raise SiteError(where, "::: slider changes nothing: no {{ … }} in it depends on it")
        sliders = [
            {"label": slider.label, "words": slider.words, "start": slider.start}
            for slider in self.sliders
        ]
        data = {"knobs": sliders, "said": [list(row) for row in zip(*self.holes, strict=True)]}
        rows = '<div class="slider-row"></div>' * len(self.sliders)  # the controls' place
        script = embedded_json(data, "data")
        return f'<div class="slider-controls">{rows}</div>\n{script}</prose-slider>\n'


def _slider(part: str, facts: Facts, where: str) -> Slider:
    match = _PART.fullmatch(part)
    if match is None:
        remedy = "::: slider N in sizes from 7e9 as count: Parameters"
        raise SiteError(where, f"cannot read the slider {part!r}; write it as {remedy}")
    name, stops, start, form, label = match.groups()
    values = list(facts.evaluate(stops, where))
    first = facts.evaluate(start, where)
    if first not in values:
        raise SiteError(where, f"the slider {name} starts at {first!r}, which is no stop of it")
    words = [facts.value(f"{form}({name})", where, {name: value}) for value in values]
    return Slider(name, label, values, values.index(first), words)

"""The reference says of each public name what its docstring says, and how it is called."""

from __future__ import annotations

import inspect
import re

import unfrozen
from site_builder import reference
from unfrozen import publish
from unfrozen.request import PlanAnswer


def section(name: str) -> str:
    """The text below the heading of a name."""
    return reference.text().partition(f"`{name}`\n")[2].partition("\n#")[0]


def test_each_public_name_of_the_library_is_there_with_its_docstring() -> None:
    names = re.findall(r"^### `(\w+)`$", reference.text(), re.MULTILINE)
    assert {*unfrozen._WATCHING, "plan", "show_table", "show_plot", "PlanError"} < {*names}
    for name in ("show_table", "show_plot"):
        assert inspect.getdoc(getattr(publish, name)) in section(name)
    assert inspect.getdoc(PlanAnswer.badge) in section("badge")


def test_a_function_is_shown_as_it_is_called_and_a_property_by_its_text_alone() -> None:
    assert "```python\nplan(job: str | Mapping[str, Any] | None=None, **options: Any) -> " in (
        section("plan")
    )
    assert "```" not in section("fits")
    assert "\n    optimizer: " in section("watch"), "a long one has an argument a line"
    assert "self" not in section("to_dict")

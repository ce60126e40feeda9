"""The address holds a place in the article and what each widget shows, and is taken apart again."""

from typing import Any

import pytest

from widgets.node import Node

PLAN, TASK = "model=Qwen/Qwen3-8B&seq_len=4096", "tasks=3"


@pytest.mark.parametrize(
    ("fragment", "place", "at", "queries"),
    [
        ("", "", None, {}),
        ("#references", "references", None, {}),
        ("#planner", "", "planner", {"planner": ""}),
        (f"#planner?{PLAN}", "", "planner", {"planner": PLAN}),
        (f"#references&planner?{PLAN}", "references", None, {"planner": PLAN}),
        (f"#decision?{TASK}&planner?{PLAN}", "", "decision", {"decision": TASK, "planner": PLAN}),
        (f"#planner?{PLAN}&decision?{TASK}", "", "planner", {"planner": PLAN, "decision": TASK}),
        (f"#planner&decision?{TASK}", "", "planner", {"planner": "", "decision": TASK}),
        ("#planners?x", "planners?x", None, {}),
        ("#a&planner", "a&planner", None, {}),
    ],
)
def test_an_address_is_taken_apart(
    node: Node, fragment: str, place: str, at: str | None, queries: dict[str, str]
) -> None:
    found: Any = node.call("page/address", "readFragment", fragment)
    assert (found["place"], found["at"], dict(found["queries"])) == (place, at, queries)


def test_an_address_is_put_together_with_the_widget_first_that_it_leads_to(node: Node) -> None:
    assert node.call("page/address", "fragment", "") == "#planner"
    assert node.call("page/address", "fragment", PLAN) == f"#planner?{PLAN}"
    assert node.call("page/address", "fragment", TASK, "decision") == f"#decision?{TASK}"

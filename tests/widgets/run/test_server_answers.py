"""What a server of runs answers: one entry that is wrong stands for itself, never for others."""

import json
from typing import Any

import pytest

from widgets.node import Node

RUN = {
    **{"id": "a", "status": "running", "model": "demo", "step": 1, "steps": 2},
    **{"started": 1.5, "updated": 2.5, "bytes": 3},
}
STARTED = {"name": "demo", "at": 1.5, "alive": True, "run": None, "lines": []}


def runs(node: Node, listed: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = node.call("run/runner", "checkRuns", listed)
    return found


def answer(node: Node, text: str) -> Any:
    return node.call("run/control", "parseAnswer", text)


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 7, "x", [], {}),
        *(RUN | {"id": {}}, RUN | {"status": "<b>"}, RUN | {"step": -1}, RUN | {"bytes": "many"}),
        *(RUN | {"problem": 3}, {"id": "a"}, RUN | {"model": "m" * 2000}),
    ],
)
def test_an_entry_that_is_no_run_is_reported_as_one_and_hides_no_other(
    node: Node, wrong: Any
) -> None:
    first, second, third = runs(node, [RUN, wrong, RUN | {"id": "b"}])
    assert (first, second) == (RUN, RUN | {"id": "b"})
    assert (third["id"], third["status"]) == ("", "unreadable")
    assert third["problem"]


def test_fields_that_nobody_knows_are_left_out(node: Node) -> None:
    assert runs(node, [RUN | {"toString": "x", "newer": 1}]) == [RUN]


def test_what_may_be_changed_is_read_whole(node: Node) -> None:
    told = {"allowed": True, "started": STARTED}
    assert answer(node, json.dumps(told)) == told
    assert answer(node, '{"seq": 5}') == {"seq": 5}


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "nonsense", "[" * 20_000, '{"allowed": "yes"}', '{"seq": -1}'),
        json.dumps({"started": STARTED | {"lines": [{}]}}),
    ],
)
def test_an_answer_that_is_none_is_no_answer(node: Node, text: str) -> None:
    assert answer(node, text) is None

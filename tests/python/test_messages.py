"""What a worker says is taken only as it may be said: its form, its size, its turn and its run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from widgets.node import Node

RUN = {"run": 3, "cell": "memory"}
ERROR = {"type": "E", "message": "m", "traceback": "t", "line": 1}
DONE = RUN | {
    "type": "done", "value": "42", "error": None, "notice": "", "guessed": "",
    "seconds": 0.1, "heapBytes": 1,
}  # fmt: skip
SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "ready": ("boot", {"type": "ready"}),
    "failed": ("boot", {"type": "failed", "reason": "no"}),
    "started": ("sent", RUN | {"type": "started"}),
    "fetch": ("run", RUN | {"type": "fetch", "id": 1, "name": "numpy"}),
    "damaged": ("run", RUN | {"type": "damaged", "name": "numpy"}),
    "stdout": ("run", RUN | {"type": "stdout", "text": "a"}),
    "table": ("run", RUN | {"type": "table", "json": "{}"}),
    "plots": ("run", RUN | {"type": "plots", "json": "[]"}),
    "done": ("run", DONE),
    "done with an error": ("run", DONE | {"error": ERROR}),
    "answer": ("ask", {"type": "answer", "call": 1, "json": "{}"}),
    "crashed": ("run", RUN | {"type": "crashed", "reason": "r"}),
    "crashed between two runs": ("idle", {"type": "crashed", "run": 0, "cell": "", "reason": "r"}),
    "pong": ("run", {"type": "pong", "running": 3}),
}
TURNS = ("boot", "sent", "run", "ask", "idle")


@pytest.fixture(scope="module")
def js() -> Iterator[Node]:
    node = Node()
    yield node
    node.stop()


def may_be_said(js: Node, data: Any, turn: str, current: Any = None) -> bool:
    return bool(js.call("python/messages", "isAllowed", data, turn, current or RUN))


@pytest.mark.parametrize("name", SAID)
def test_what_python_says_is_taken_in_its_turn(js: Node, name: str) -> None:
    turn, data = SAID[name]
    assert may_be_said(js, data, turn)
    always = {"crashed", "pong"}
    wrong = [each for each in TURNS if each != turn and data["type"] not in always]
    assert not [other for other in wrong if may_be_said(js, data, other)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_a_field_less_or_more_or_of_another_type_is_refused(js: Node, name: str) -> None:
    turn, data = SAID[name]
    fields = [field for field in data if field != "type"]
    assert not may_be_said(js, data | {"more": 1}, turn)
    for field in fields:
        assert not may_be_said(js, {key: data[key] for key in data if key != field}, turn), field
        for odd in ([], {}, {"tag": "img"}, [1], -1):
            assert not may_be_said(js, data | {field: odd}, turn), (field, type(odd))
        if isinstance(data[field], str):
            long = "x" * (33_000_001 if field == "json" else 400_001)
            assert not may_be_said(js, data | {field: long}, turn), field


@pytest.mark.parametrize(
    "current", [{"run": 4, "cell": "memory"}, {"run": 3, "cell": "other"}, {"run": 0, "cell": ""}]
)
def test_what_belongs_to_another_run_or_cell_is_refused(js: Node, current: dict[str, Any]) -> None:
    for turn, data in SAID.values():
        if "run" in data and data["run"] != 0:
            assert not may_be_said(js, data, turn, current)


@pytest.mark.parametrize(
    "data",
    [None, 1, "ready", [], {}, {"type": None}, {"type": "constructor"}, {"type": "__proto__"},
     {"type": ["ready"]}, {"type": "boot"}, {"type": "starting", "files": {}}, {"type": "kept"}],
)  # fmt: skip
@pytest.mark.parametrize("turn", TURNS)
def test_what_it_never_says_is_refused(js: Node, data: Any, turn: str) -> None:
    assert not may_be_said(js, data, turn)

"""The list of runs: what stands in its columns, what is found, and in which order."""

from typing import Any

import pytest

from widgets.node import Node

RUN = {
    **{"id": "a", "status": "finished", "model": "Llama", "step": 20, "steps": 20},
    **{"started": 1000.0, "updated": 1090.0, "bytes": 2048},
}
SCORED = RUN | {
    **{"id": "b", "task": {"loss": 0.5, "delta": -1.0, "right": 3, "of": 4}, "peak_bytes": 2**31},
    **{"general": {"loss": "NaN", "delta": "NaN"}, "predicted_bytes": 2**30},
}
OWN = {"id": "p1", "title": "Careful", "over": True, "path": [{"task": 0.25, "general": 1}]}
RECORDED = {"name": "demo.jsonl", "title": "A recording", "description": "Forgets."}
RECORDED |= {"run": {"model": "demo", "step": 200, "steps": 200, "started": 1000.0}}


def rows(node: Node, runs: list[Any], *others: Any) -> list[dict[str, Any]]:
    own, recordings = others or ([], [])
    found: list[dict[str, Any]] = node.call("run/list", "rowsOf", runs, own, recordings)
    return found


def found(node: Node, listed: list[Any], **wanted: Any) -> list[str]:
    every = {"text": "", "status": ""}
    return [row["name"] for row in node.call("run/list", "filterRows", listed, every | wanted)]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("status", {"text": "finished"}),
        ("progress", {"text": "20 of 20", "note": ""}),
        ("task", {"text": "0.500", "note": "−1.000, 3 of 4 right", "tone": "good"}),
        ("peak", {"text": "2\u00a0GiB", "note": "100% above predicted"}),
        ("took", {"text": "1\u00a0min\u00a030\u00a0s"}),
        ("tool", {"text": "train"}),
        ("data", {"text": ""}),
        ("general", {"text": "NaN", "note": "NaN", "tone": "bad"}),
    ],
)
def test_a_cell_says_what_is_known(node: Node, column: str, cell: dict[str, str]) -> None:
    (row,) = rows(node, [SCORED])
    assert node.call("run/list", "cellOf", column, row) == cell


def test_runs_of_the_page_recordings_and_what_cannot_be_read_are_rows_too(node: Node) -> None:
    bad = RUN | {"id": "", "status": "unreadable", "problem": "entry 3 has no name"}
    first, own, recorded = rows(node, [bad], [OWN], [RECORDED])
    assert (first["key"], first["note"]) == ("live:entry 3 has no name", bad["problem"])
    assert (own["key"], own["status"]) == ("page:p1", "stopped")
    assert node.call("run/list", "cellOf", "task", own)["note"] == "25% right"
    assert node.call("run/list", "cellOf", "progress", first) == {"text": ""}
    assert (recorded["key"], recorded["note"]) == ("recording:demo.jsonl", "Forgets.")
    assert (recorded["status"], recorded["model"]) == ("recorded", "demo")
    assert node.call("run/list", "cellOf", "progress", recorded)["text"] == "200 of 200"


def test_every_word_is_looked_for_in_everything_that_a_row_says(node: Node) -> None:
    listed = rows(node, [RUN, SCORED, RUN | {"id": "c", "model": "Übung １２"}])
    assert found(node, listed) == ["a", "b", "c"]
    assert found(node, listed, text=" LLAMA  b") == ["b"]
    assert found(node, listed, text="übung 12") == ["c"]
    assert found(node, listed, status="running") == []


@pytest.mark.parametrize(
    ("column", "falling", "order"),
    [
        ("name", False, ["a2", "a10", "b"]),
        ("task", False, ["b", "a10", "a2"]),
        ("progress", True, ["a10", "b", "a2"]),
    ],
)
def test_rows_are_sorted_and_what_has_nothing_stands_last(
    node: Node, column: str, falling: bool, order: list[str]
) -> None:
    listed = rows(node, [RUN | {"id": "a10", "step": 30}, SCORED, RUN | {"id": "a2"}])
    after = node.call("run/list", "sortRows", listed, column, falling)
    assert [row["name"] for row in after] == order

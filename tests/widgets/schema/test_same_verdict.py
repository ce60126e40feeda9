"""The page and the runner judge alike: the same verdict, in the same words, on whatever comes."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

import build
from conftest import matrix
from security.damage import HOSTILE, damaged, lines
from unfrozen.events import KINDS
from unfrozen.schema import Checked, LogOrder, check, published, read_line
from widgets.node import Node

RECORDINGS = sorted((build.ROOT / "web" / "recordings").glob("*.jsonl"))


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def one_of_each() -> list[dict[str, Any]]:
    """An event of every kind, as the recorded runs have them, and those they lack."""
    head = {"v": 1, "run": "r", "seq": 9, "att": 0, "t": 1795642892.05, "rt": 0.5, "step": 7}
    found = {event["kind"]: event for path in RECORDINGS for event in events(path)}
    found["alert"] = {**head, "kind": "alert", "level": "warn", "text": "look"}
    found["run.resume"] = {**head, "kind": "run.resume", "from_step": 7}
    instants = {"load": {"params": 9}}
    predicted = {"peak_instant": "load", "peak_bytes": 9, "instants": instants}
    found["predicted"] = {**head, "kind": "predicted", "predicted": predicted}
    row = {"place": "line 1", "tokens": 3, "trained": 1, "loss": 0.5}
    parts = [{"as": "read", "texts": ["a", ""]}, {"as": "end", "texts": ["</s>"]}]
    found["rows"] = {**head, "kind": "rows", "first": [{**row, "parts": parts}]}
    written = {"text": "a b", "ended": True, "pieces": ["a", " b"]}
    sides = {"before": written, "after": written}
    found["answer"] = {**head, "kind": "answer", "prompt": "p", "asked": 3, **sides}
    point = {"alpha": 0.5, "sets": {"task": {"loss": 0.5, "exact": 3, "of": 4}}}
    found["blend"] = {**head, "kind": "blend", "how": "alpha", "points": [point], "chosen": 0.5}
    found["beat"] = {**head, "kind": "beat", "expect_next_in": 5.0, "doing": "eval", "done": 0.5}
    found["sys"] = {**head, "kind": "sys", "m": {"sys/rss_bytes": 9}, "cut": ["gpu"]}
    assert found.keys() == KINDS.keys()
    return list(found.values())


def same(python: Checked, javascript: dict[str, Any]) -> bool:
    told = {"value": python.value, "problem": python.problem, "unknown": python.unknown}
    return json.loads(json.dumps(told)) == javascript


@pytest.mark.parametrize("seed", matrix(range(4), 0))
def test_a_thousand_damaged_lines_get_the_same_verdict_in_both_languages(
    node: Node, seed: int
) -> None:
    verdicts = set()
    for line in lines(one_of_each(), 1000, seed):
        if line.isprintable() or not any("\ud800" <= c <= "\udfff" for c in line):
            python = read_line(line)
            assert same(python, node.call("schema/event-log", "readLine", line)), line[:300]
            verdicts.add(python.problem)
    assert len(verdicts) > 50
    assert "" in verdicts


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: str(path.stem))
def test_every_recorded_line_is_let_through_whole_and_in_order(node: Node, path: Path) -> None:
    order = LogOrder()
    for line in path.read_text().splitlines():
        verdict = read_line(line)
        assert (verdict.problem, verdict.unknown) == ("", 0)
        assert verdict.value == json.loads(line)
        assert order.accept(verdict.value) == ""
        assert same(verdict, node.call("schema/event-log", "readLine", line))


def test_what_a_cell_publishes_is_judged_alike(node: Node) -> None:
    table = {
        "headers": ["a", "b"],
        "rows": [[1, "x"], [None, True], [0.5, ""]],
        "align": ["left", "right"],
        "units": ["", "GB"],
        "caption": "c",
    }
    line = {"label": "l", "data": [1, None, 2.5], "color": "red", "dashed": True}
    plot = {"title": "t", "x_data": [1, 2, "z"], "lines": [line], "type": "line", "x_log": False}
    schema = node.call("schema/schema", "shapes")
    random_ = random.Random(3)
    for shape, key, good in (
        (published.TABLE, "table", table),
        (published.PLOTS, "plots", [plot, plot]),
    ):
        values = [good, *HOSTILE]
        for _ in range(400):
            whole = {"it": good}
            values.append(damaged(whole, random_).get("it"))
        for value in filter(writable, values):
            python = check(shape, value)
            assert same(python, node.call("schema/check", "check", schema[key], value)), value


def writable(value: object) -> bool:
    """Whether a pipe can carry it: JSON.parse of the harness reads integers as doubles."""
    return "\\ud8" not in json.dumps(value) and "\\udc" not in json.dumps(value)


def test_the_order_of_lines_is_judged_alike(node: Node) -> None:
    kinds = ("run.start", "metrics", "eval", "alert", "run.resume", "run.end", "beat", "dream")
    random_ = random.Random(5)
    for _ in range(60):
        order, events_, told = LogOrder(), [], []
        for seq in itertools.accumulate(random_.choices((0, 1, 1, 1, 3), k=12)):
            event = {
                "run": random_.choice("rrrrrrrs"),
                "seq": seq,
                "att": random_.choice((0, 0, 0, 1)),
                "kind": random_.choice(kinds),
                "step": random_.randrange(6),
            }
            events_.append(event)
            told.append(order.accept(event))
        assert node.call("../tests/widgets/schema/accepted", "accepted", events_) == told

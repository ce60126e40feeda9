"""Where the cursor stands in a cell's code, also where the code is broken."""

from typing import Any

import pytest

from widgets.node import Node

NAMES: dict[str, Any] = {
    "ma|": {},
    "x = [plan(1), |]": {},
    "def f(a, |": {},
    "x == (|": {},
    "math.co|\nx = 1": {"owner": "math"},
    "x = np.random.|": {"owner": "np.random"},
    "f(a, b.c|": {"owner": "b"},
    "for i in x:\n    a.|\nb = 1": {"owner": "a"},
    "def f(x:\n  y.|": {"owner": "y"},
    "((((a.|": {"owner": "a"},
    "x = {1: a.|": {"owner": "a"},
    "not -a.|": {"owner": "a"},
    "f'{a.|}'": {"owner": "a"},
    "rows[0]['k'].|": {"owner": "rows[0]['k']"},
    "'x'.|": {"owner": "'x'"},
    "(a + b).|": {"owner": "(a + b)"},
    "math._|": {"owner": "math", "hidden": True},
    "plan(|": {"callee": "plan"},
    "plan(job, st|)\ny = 2": {"callee": "plan"},
    "a.plan('x', st|": {"callee": "a.plan"},
    "import nu|": {"package": ""},
    "from a.b.|": {"package": "a.b"},
    "import a, b.c|": {"package": "b"},
    "from a.b import (x, y|": {"package": "a.b", "members": True},
}


@pytest.mark.parametrize("text", NAMES)
def test_a_place_has_an_owner_a_call_or_a_package(node: Node, text: str) -> None:
    nothing = {"owner": "", "callee": "", "package": None, "members": False, "hidden": False}
    place = node.call("cells/editor", "placeAt", text.replace("|", ""), text.index("|"))
    word = text[place.pop("from") : text.index("|")]
    assert place == nothing | NAMES[text]
    assert word == "" or word.isidentifier()


@pytest.mark.parametrize("text", ["'te|xt'", "'te|", "# co|", "f'te|'", "12|", "1.|", "....|"])
def test_there_are_no_names_in_texts_comments_and_numbers(node: Node, text: str) -> None:
    at = text.index("|")
    assert node.call("cells/editor", "placeAt", text.replace("|", ""), at) is None


def test_a_long_expression_is_not_asked_about(node: Node) -> None:
    code = f"f({'x' * 400}).y"
    assert node.call("cells/editor", "placeAt", code, len(code)) is None

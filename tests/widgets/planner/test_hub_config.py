"""What the page asks of huggingface.co, and what it makes of the answers."""

import pytest

from widgets.node import Node

LINK = "https://huggingface.co/owner/name/raw/main/config.json"


def test_nothing_but_a_config_of_the_hub_is_asked_for(node: Node) -> None:
    for link in (
        "https://huggingface.co.evil.example/owner/name/raw/main/config.json",
        "https://huggingface.co/owner/name/raw/main/../../x/config.json",
        "http://huggingface.co/owner/name/raw/main/config.json",
        "",
    ):
        assert not node.call("planner/hub-config", "isConfig", link)
    assert node.call("planner/hub-config", "isConfig", LINK)


@pytest.mark.parametrize(
    ("status", "says"),
    [(401, "sign in"), (404, "sign in"), (500, "error (500)"), (200, "")],
)
def test_an_answer_without_a_file_is_reported_in_a_sentence(
    node: Node, status: int, says: str
) -> None:
    told = node.call("planner/hub-config", "refusal", status, LINK.replace("raw", "resolve"))
    assert says in told if says else told == ""


def test_an_answer_from_elsewhere_is_not_read(node: Node) -> None:
    assert "elsewhere" in node.call(
        "planner/hub-config", "refusal", 200, "https://cdn.example/config.json"
    )

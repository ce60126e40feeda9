"""The first figure: its texts are those of the recorded run, at every step."""

import json
import re
from html import unescape

from site_builder.measurements import read_json
from site_builder.page_run import figure

RECORDED = read_json("opening.json")


def data() -> dict[str, list[list[str]]]:
    found = re.search(r'<script[^>]*class="data"[^>]*>(.*?)</script>', figure(), re.DOTALL)
    assert found is not None
    read: dict[str, list[list[str]]] = json.loads(found[1])
    return read


def test_every_frame_has_its_bars_its_step_and_its_answers_each_marked() -> None:
    sentences = data()["sentences"]
    assert len(sentences) == len(RECORDED["frames"])
    for texts, frame in zip(sentences, RECORDED["frames"], strict=True):
        assert texts[1].startswith(f"{frame['right']['task']} of")
        assert texts[3].startswith(f"{frame['right']['general']} of")
        assert texts[4] == str(frame["step"])
        answers, marks = texts[5::2], texts[6::2]
        assert answers == [answer.strip() or "(nothing)" for answer in frame["answers"]]
        rights = [row["right"] for row in RECORDED["prompts"]]
        assert [mark == "✓" for mark in marks] == [
            answer == right for answer, right in zip(frame["answers"], rights, strict=True)
        ]


def test_what_changes_stands_in_the_order_of_the_sentences() -> None:
    """The last frame, as printed: bars by their width, all else by its text."""
    changes = r'class="[^"]*slid[ "][^>]*?(?:width="([^"]*)"[^>]*/>|>([^<]*)<)'
    printed = [unescape(width or text) for width, text in re.findall(changes, figure())]
    assert printed == data()["sentences"][-1]

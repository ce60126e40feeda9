"""Sliders in prose: complete without a script, every sentence computed by the build."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from site_builder import SiteError
from site_builder.page import render_chapters

FACTS = """
```python facts
sizes = [1e9, 7e9, 70e9]
batches = [1, 2]
whole = "{:,}".format
```
"""


def printed(folder: Path, block: str) -> str:
    """Return the HTML of a chapter with nothing but the facts above and this block."""
    (folder / "references.toml").write_text("")
    (folder / "01-one.md").write_text(f"# One\n{FACTS}\n{block}\n")
    (chapter,) = render_chapters(folder)
    return chapter.html


def data(html: str) -> dict[str, Any]:
    """Return the data from which the element takes its texts."""
    (text,) = re.findall(r'<script type="application/json" class="data">(.*?)</script>', html)
    found: dict[str, Any] = json.loads(text)
    return found


ONE = """::: slider N in sizes from 7e9 as count: Parameters
Of {{ count(N) }} parameters, {{ gb(16 * N) }} and {{ gb(3e9) }}.
:::"""
TWO = """::: slider N in sizes from 7e9 as count: Parameters; b in batches from 2 as whole: Examples
{{ gb(N * b) }}
:::"""


def test_the_initial_sentence_is_there_without_a_script(tmp_path: Path) -> None:
    html = printed(tmp_path, ONE)
    paragraph = re.findall(r"<p>(.*?)</p>", html, re.DOTALL)[0]
    words = unescape(re.sub(r"<[^>]+>", "", paragraph)).replace("\u00a0", " ")
    assert words == "Of 7 billion parameters, 112 GB and 3 GB."
    assert html.count('class="slid"') == 2  # the third never changes


def test_every_value_has_its_text(tmp_path: Path) -> None:
    found = data(printed(tmp_path, ONE))
    (slider,) = found["sliders"]
    assert slider["label"] == "Parameters"
    assert slider["start"] == 1
    assert [text.replace("\u00a0", " ") for text in slider["texts"]] == [
        "1 billion", "7 billion", "70 billion",
    ]  # fmt: skip
    assert [row[1].replace("\u00a0", " ") for row in found["sentences"]] == [
        "16 GB",
        "112 GB",
        "1,120 GB",
    ]


def test_two_sliders_have_a_sentence_for_every_pair_the_last_changing_first(tmp_path: Path) -> None:
    html = printed(tmp_path, TWO)
    sentences = [row[0].replace("\u00a0", " ") for row in data(html)["sentences"]]
    assert sentences == ["1 GB", "2 GB", "7 GB", "14 GB", "70 GB", "140 GB"]
    assert re.findall(r'<span class="slid">(.*?)</span>', html) == ["14\u00a0GB"]
    assert html.count('<div class="slider-row">') == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("N of sizes", "write it as"),
        ("N in sizes from 8e9 as count: Parameters", "not one of its values"),
        ("N in nothing from 7e9 as count: Parameters", "'nothing' is undefined"),
        ("N in range(201) from 7 as count: Parameters", "at most"),
    ],
)
def test_a_slider_that_cannot_be_read_says_why_at_its_line(
    tmp_path: Path, line: str, reason: str
) -> None:
    with pytest.raises(SiteError, match=re.escape(reason)) as caught:
        printed(tmp_path, f"::: slider {line}\n{{{{ count(N) }}}}\n:::")
    assert caught.value.where == "01-one.md:9"


def test_a_slider_that_changes_nothing_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="changes nothing"):
        printed(tmp_path, "::: slider N in sizes from 7e9 as count: Parameters\nText.\n:::")

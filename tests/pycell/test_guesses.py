"""A guess beside what a cell published: the article's own cells, edited ones and broken ones."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from pycell.browser import Session
from pycell.packages import Packages
from pycell.window import make_js_module
from unfrozen.guesses import GUESSES

pytestmark = pytest.mark.slow

ARTICLE = Path(__file__).parents[2] / "web" / "article"
CELL = re.compile(r"```python cell (id=[^\n]*) guess=(\S+)[^\n]*\n(.*?)\n```", re.DOTALL)
CELLS = {
    match[2]: match[3]
    for path in sorted(ARTICLE.glob("[0-9][0-9]-*.md"))
    for match in CELL.finditer(path.read_text(encoding="utf-8"))
}
PLOT = """
import json, js
js.window.py_plot_data = json.dumps([{"x_data": [1, 8], "lines": [
    {"label": "One by one", "data": [10, 20]}]}])
"""


async def no_package(name: str) -> str:
    """There is none to bring."""
    return f"{name} is not here"


class Reader:
    """Runs cells in a session of the page's own, and keeps what reaches the page."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.published: list[tuple[str, str]] = []
        self.session = Session(
            lambda _: None,
            lambda name, text: self.published.append((name, text)),
            Packages([], no_package, lambda: False),
        )
        monkeypatch.setitem(sys.modules, "js", make_js_module(self.session.publish))

    def run(self, source: str, key: str = "", text: str = "") -> dict[str, Any]:
        """Run a cell with a guess; without an event loop, for a browser's may be running."""
        self.published.clear()
        said: list[Any] = []
        steps = self.session.run("cell", source, lambda *parts: said.extend(parts), key, text)
        with pytest.raises(StopIteration):  # no cell here waits for anything
            steps.send(None)
        value, error, *_, notice, guessed = said
        return {"ok": error is None, "value": value, "notice": notice, "guessed": guessed}

    @property
    def plot(self) -> dict[str, Any]:
        """The first plot, as it was published last."""
        text = [text for name, text in self.published if name == "py_plot_data"][-1]
        plot: dict[str, Any] = json.loads(text)[0]
        return plot


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader with an interpreter of their own."""
    return Reader(monkeypatch)


def test_four_cells_of_the_article_let_the_reader_guess_first() -> None:
    assert CELLS.keys() == GUESSES.keys()
    assert len(CELLS) == 4


@pytest.mark.parametrize("key", GUESSES)
def test_a_guess_that_is_what_the_cell_shows_was_close(reader: Reader, key: str) -> None:
    far = reader.run(CELLS[key], key, "1e-9")["guessed"]
    assert "your guess lies below it, by a factor of" in far
    shown = re.search(
        r"(\d[\d.,]*)", far.split(". ", 1)[1].replace("64 GPUs", "").replace("7B", "")
    )
    assert shown is not None
    near = reader.run(CELLS[key], key, shown[1])["guessed"]
    assert near.endswith(": you were close.")


@pytest.mark.parametrize("key", GUESSES)
def test_a_guess_is_marked_in_the_plot_of_the_cell(reader: Reader, key: str) -> None:
    reader.run(CELLS[key])
    before = reader.plot
    reader.run(CELLS[key], key, "20")
    marks = [each["label"] for each in reader.plot.get("thresholds", ())]
    marks += [line["label"] for line in reader.plot["lines"]]
    assert "Your guess" in marks
    assert reader.plot["x_data"] == before["x_data"]


@pytest.mark.parametrize("text", ["", "abc", "-1", "1e400", "12 apples"])
def test_what_is_no_number_is_answered_in_words_and_marks_nothing(
    reader: Reader, text: str
) -> None:
    found = reader.run(PLOT, "one-by-one", text)
    assert found["ok"]
    assert found["guessed"] == "" if not text else found["guessed"].startswith("Your guess: ")
    assert len(reader.published) == 1


def test_a_guess_in_another_unit_is_converted(reader: Reader) -> None:
    assert "you were close" in reader.run(PLOT, "one-by-one", "18.6 GiB")["guessed"]
    assert "by 25%" in reader.run(PLOT, "one-by-one", "15000 MB")["guessed"]


def test_a_guess_far_above_the_plot_is_reported_and_not_drawn(reader: Reader) -> None:
    said = reader.run(PLOT, "one-by-one", "5000")["guessed"]
    assert "above it, by a factor of 250" in said
    assert "thresholds" not in reader.plot


@pytest.mark.parametrize("key", GUESSES)
@pytest.mark.parametrize(
    "source",
    [
        "1",
        "import json, js\njs.window.py_plot_data = json.dumps([])",
        "import json, js\njs.window.py_plot_data = json.dumps([{'x_data': [], 'lines': []}])",
        "import json, js\njs.window.py_plot_data = json.dumps("
        "[{'x_data': ['a'], 'lines': [{'label': 'One by one', 'data': [None]}]}])",
        "import json, js\njs.window.py_table_data = json.dumps({'headers': [], 'rows': []})",
        "import json, js\njs.window.py_table_data = json.dumps("
        "{'headers': ['a'], 'rows': [['LoRA 7B'], ['2e-5']]})",
    ],
)
def test_a_cell_that_no_longer_answers_is_reported(reader: Reader, key: str, source: str) -> None:
    found = reader.run(source, key, "20")
    assert found["ok"]
    assert "no longer publishes what was asked" in found["guessed"]


def test_a_cell_that_fails_and_one_without_a_guess_compare_nothing(reader: Reader) -> None:
    assert reader.run(f"{PLOT}\n1 / 0", "one-by-one", "20")["guessed"] == ""
    assert reader.run(PLOT)["guessed"] == ""
    assert reader.run("1", "one-by-one", "20")["guessed"].endswith("compare it with the figure.")

"""Long cells are folded to a dozen lines, their text unchanged; in a figure code comes last."""

import re
from html import unescape
from pathlib import Path

import pytest

from site_builder import SiteError
from site_builder.code_blocks import fold_lines, highlight, lines_in_sight
from site_builder.page import render_chapters

ARTICLE = Path(__file__).parents[2] / "web" / "article"
CELL = re.compile(r"```python cell ([^\n]*)\n(.*?)\n```", re.DOTALL)
CELLS = [match for path in sorted(ARTICLE.glob("*.md")) for match in CELL.findall(path.read_text())]
IMPORTS, CALL = "import math\nfrom a import b\n\n", "\n\nshow_plot(\n    't',\n    lines={},\n)"


def in_sight(source: str, show: str = "") -> str:
    """The lines of a folded cell, as a reader sees them."""
    shown = lines_in_sight(source, show, "x.md:1")
    return "\n".join(line for n, line in enumerate(source.split("\n"), 1) if n in shown)


def lines(count: int) -> str:
    return "\n".join(f"x{n} = {n}" for n in range(count))


def test_a_dozen_lines_are_shown_whole() -> None:
    source = IMPORTS + lines(7) + "\n\n# end"
    assert in_sight(source) == source


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (IMPORTS + lines(11), lines(11)),
        (IMPORTS + lines(7) + CALL, lines(7) + CALL),
        (IMPORTS + lines(9) + CALL, lines(9)),
        (IMPORTS + lines(20) + CALL, lines(12)),
        (IMPORTS + lines(2) + CALL + "\n" + lines(20), lines(2) + "\n" + lines(10)),
        (lines(11) + "\n\n" + lines(11), lines(11)),
    ],
)
def test_of_more_imports_go_first_then_what_publishes_then_the_end(source: str, seen: str) -> None:
    assert in_sight(source) == seen


def test_the_raw_form_of_publishing_is_folded_too() -> None:
    source = lines(9) + "\njs.window.py_table_data = json.dumps({\n" + "    1,\n" * 9 + "})"
    assert in_sight(source) == lines(9)


def test_a_fence_may_name_the_lines_in_sight() -> None:
    assert in_sight(lines(30), "2,5-6") == "x1 = 1\nx4 = 4\nx5 = 5"
    for show, problem in (
        ("1-13", "13 lines"),
        ("31", "of 1-30"),
        ("a", "cannot read"),
        ("0", "1 lines"),
    ):
        with pytest.raises(SiteError, match=problem):
            in_sight(lines(30), show)


def test_folding_leaves_the_text_as_it_is() -> None:
    assert CELLS
    for _, source in CELLS:
        code = highlight(source, "python", "x.md:1")
        folded = fold_lines(code, lines_in_sight(source, "", "x.md:1"))
        assert unescape(re.sub(r"<[^>]+>", "", folded)) == unescape(re.sub(r"<[^>]+>", "", code))


def test_a_blank_line_between_two_in_sight_is_not_marked_as_hidden() -> None:
    assert fold_lines("a\n\nb\nc\n", {1, 3}).startswith("a\n\nb\n<span")


def test_in_a_figure_the_picture_comes_first_then_its_caption_then_the_code(tmp_path: Path) -> None:
    (tmp_path / "references.toml").write_text("")
    cell = f'```python cell id=sum run="Add" guess=moves\n{lines(13)}\nprint(1)\n```'
    text = f"# One\n\n::: figure sum wide\n\n{cell}\n\nA sum.\n:::\n\nMore.\n"
    (tmp_path / "01-one.md").write_text(text)
    html = render_chapters(tmp_path)[0].html
    order = ["<live-cell", "<figure", "cell-guess", 'class="cell-output', "<figcaption"]
    order += ["</figure>", "<details", "All 14 lines", '<pre class="cell-source', "</live-cell>"]
    places = [html.index(mark) for mark in order]
    assert places == sorted(places)
    assert [html.count(mark) for mark in order] == [1] * len(order)


def test_a_figure_with_two_cells_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "references.toml").write_text("")
    cells = "\n\n".join(f'```python cell id={name} run="Add"\n1\n```' for name in "ab")
    (tmp_path / "01-one.md").write_text(f"# One\n\n::: figure sum\n\n{cells}\n\nA sum.\n:::\n")
    with pytest.raises(SiteError, match="the output of one cell"):
        render_chapters(tmp_path)


CELL = '```python cell id=sum run="Add"\n1\n```'
FACTS = "```python facts\nsizes = [7e9, 8e9]\n```"
SLIDER = "::: slider N in sizes from 7e9 as count: Parameters"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f"::: figure a\n\n:::: figure b\n\n{CELL}\n\nB.\n::::\n\nA.\n:::",
            "md:5: a figure stands",
        ),
        (f"::: figure a\n\n{CELL}\n\n:::: figure b\n\nB.\n::::\n:::", "md:9: a figure stands"),
        (f"::: figure a\n\n{CELL}\n\nA.\n\n::: figure b\n\nB.\n:::\n", "md:11: a figure stands"),
        (f"{FACTS}\n\n{SLIDER}\n\n{SLIDER}\n\nA.\n:::\n:::", "md:9: a slider stands"),
        ("::: figure a\n\n```python cells\n1\n```\n\nA.\n:::", "md:5: .*'python cells'"),
    ],
    ids=["around", "beside a cell", "not ended", "slider", "no cell"],
)
def test_a_misplaced_block_stops_the_build_with_its_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "references.toml").write_text("")
    (tmp_path / "01-one.md").write_text(f"# One\n\n{text}\n")
    with pytest.raises(SiteError, match=problem):
        render_chapters(tmp_path)

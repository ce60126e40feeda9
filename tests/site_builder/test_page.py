"""Errors in chapters name the place and the reason."""

from pathlib import Path

import pytest

from site_builder import SiteError
from site_builder.page import render_chapters

REFERENCES = """
[known2020]
authors = "A. Known"
year = 2020
title = "A known work"
venue = "A place"
url = "https://example.org"
"""


@pytest.fixture
def article(tmp_path: Path) -> Path:
    """An article folder that has a bibliography and no chapter yet."""
    (tmp_path / "references.toml").write_text(REFERENCES)
    return tmp_path


def failure(article: Path, *lines: str) -> SiteError:
    """Render one chapter of these lines below its title; return the error that stops it."""
    (article / "01-one.md").write_text("\n".join(["# One", *lines]) + "\n")
    with pytest.raises(SiteError) as caught:
        render_chapters(article)
    return caught.value


def test_a_failing_cell_names_its_line_in_the_chapter_and_shows_its_traceback(
    article: Path,
) -> None:
    error = failure(article, "", '```python cell id=bad run="Try"', "x = 1", "x / 0", "```")
    assert error.where == "01-one.md:5"
    assert "ZeroDivisionError" in error.problem
    assert "x / 0" in error.problem


def test_a_cell_that_does_not_compile_names_its_line(article: Path) -> None:
    error = failure(article, '```python cell id=bad run="Try"', "x = 1", "x = = 2", "```")
    assert error.where == "01-one.md:4"
    assert "SyntaxError" in error.problem


def test_a_cell_that_publishes_a_wrong_table_stops_the_build(article: Path) -> None:
    cell = ['```python cell id=bad run="Try"', "import js", "js.window.py_table_data = 3", "```"]
    error = failure(article, *cell)
    assert error.where == "01-one.md:4"
    assert "py_table_data" in error.problem


def test_a_cell_may_import_numpy_and_publish_its_numbers(article: Path) -> None:
    cell = (
        'import json, js\nimport numpy as np\njs.window.py_plot_data = json.dumps([{"title": "t", '
        '"x_label": "x", "y_label": "y", "x_data": np.arange(2), '
        '"lines": [{"label": "a", "data": np.ones(2, dtype=np.float32)}]}])'
    )
    lines = ["# One", "", '```python cell id=numbers run="Try"', cell, "```", ""]
    (article / "01-one.md").write_text("\n".join(lines))
    (chapter,) = render_chapters(article)
    assert '"x_data":[0,1],"lines":[{"label":"a","data":[1.0,1.0]}]' in chapter.html


def test_two_cells_cannot_share_an_id(article: Path) -> None:
    cell = ['```python cell id=same run="Try"', "1", "```", ""]
    error = failure(article, *cell, *cell)
    assert error.where == "01-one.md:6"
    assert "'same' is taken by 01-one.md:2" in error.problem


@pytest.mark.parametrize(
    "info", ["id=x", 'run="Try"', 'id=Not-Lower run="Try"', 'id=x run="Try" more=1', 'id="x']
)
def test_a_wrong_info_string_says_how_to_write_it(article: Path, info: str) -> None:
    error = failure(article, f"```python cell {info}", "1", "```")
    assert error.where == "01-one.md:2"
    assert "info string" in error.problem or "write it as" in error.problem


def test_an_unknown_name_in_prose_names_the_line_it_stands_on(article: Path) -> None:
    error = failure(article, "", "A long paragraph", "that goes on to {{ gb(missing) }}.")
    assert error.where == "01-one.md:4"
    assert "missing" in error.problem


def test_a_failing_facts_block_names_its_own_line(article: Path) -> None:
    error = failure(article, "", "```python facts", "a = 1", "b = a / 0", "```")
    assert error.where == "01-one.md:5"
    assert "ZeroDivisionError" in error.problem


def test_an_unknown_citation_lists_what_could_be_meant(article: Path) -> None:
    error = failure(article, "", "As was shown [@unknown1999].")
    assert error.where == "01-one.md:3"
    assert "unknown1999" in error.problem
    assert "known2020" in error.problem


def test_a_formula_that_is_not_tex_is_refused(article: Path) -> None:
    error = failure(article, "", r"Here $\nosuchcommand{x$ stands.")
    assert error.where == "01-one.md:3"
    assert "math" in error.problem


def test_a_link_to_nowhere_is_named(article: Path) -> None:
    error = failure(article, "", "See [this](#nowhere).")
    assert "#nowhere" in error.problem


def test_a_link_to_a_missing_figure_is_refused(article: Path) -> None:
    error = failure(article, "", "See [](#fig-missing).")
    assert error.where == "01-one.md:3"
    assert "missing" in error.problem


def test_a_chapter_without_a_title_is_refused(article: Path) -> None:
    (article / "01-one.md").write_text("No title\n")
    with pytest.raises(SiteError, match=r"01-one\.md:1: a chapter starts with its title"):
        render_chapters(article)


def test_an_empty_folder_is_not_an_article(article: Path) -> None:
    with pytest.raises(SiteError, match="no chapter"):
        render_chapters(article)

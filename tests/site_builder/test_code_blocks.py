"""Definitions included from their files: complete, exact, and refused when they are gone."""

import ast
import re
from html import unescape
from pathlib import Path

import pytest

import build
from site_builder import SiteError
from site_builder.code_blocks import COLOURED, PY, highlight, include_source

ARTICLE = Path(__file__).parents[2] / "web" / "article"


def code_of(html: str) -> str:
    """The text of a listing, as a reader copies it."""
    (marked,) = re.findall(r'<code class="language-python">(.*?)</code></pre>', html, re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", "", marked))


def test_a_function_is_included_exactly_with_its_path_and_lines() -> None:
    html = include_source(["gpu_runner/train/loop.py", "train_step"], "x.md:1")
    lines = (PY / "gpu_runner" / "train" / "loop.py").read_text().splitlines()
    first, last = map(int, re.findall(r"lines (\d+) to (\d+)", html)[0])
    assert code_of(html).rstrip("\n").splitlines() == lines[first - 1 : last]
    assert lines[first - 1].startswith("def train_step(")
    assert 'id="source-train-step"' in html


def test_what_the_text_explains_of_a_step_is_in_sight() -> None:
    chapter = (ARTICLE / "07-run-it-for-real.md").read_text()
    [words] = re.findall(r"^```source (.*train_step.*)$", chapter, re.MULTILINE)
    html = include_source(words.split(), "x.md:1")
    seen = re.sub(r'<span class="cell-folded">.*?</span></span>\n?', "", html, flags=re.DOTALL)
    for explained in ("trainable_tokens", "detach", "del", "norm", "tolist"):
        assert re.search(rf"\b{explained}\b", seen), explained


def test_a_token_is_marked_where_its_kind_has_a_colour() -> None:
    styles = (build.ROOT / "web" / "style" / "components" / "code.css").read_text()
    rules = re.findall(r"\.listing\) :is\(([^)]*)\)", styles)
    assert {name for rule in rules for name in re.findall(r"\.(\w+)", rule)} == COLOURED
    html = highlight("for x in f(2):  # so\n    s = 'a' + x\n", "python", "x.md:1")
    marked = re.findall(r'<span class="(\w+)">(.*?)</span>', html)
    assert marked == [("k", "for"), ("ow", "in"), ("mi", "2"), ("c1", "# so"), ("s1", "'a'")]


def test_decorators_belong_to_what_they_decorate(tmp_path: Path) -> None:
    definition = "@cache\ndef b():\n    return 1\n"
    (tmp_path / "one.py").write_text(f"a = 1\n\n\n{definition}")
    assert code_of(include_source(["one.py", "b"], "x.md:1", tmp_path)) == definition


def test_a_file_that_is_gone_stops_the_build_by_name() -> None:
    with pytest.raises(SiteError, match=r"no such file") as caught:
        include_source(["gpu_runner/lost.py", "train_step"], "07.md:9")
    assert caught.value.where == "07.md:9"
    assert "gpu_runner/lost.py" in caught.value.problem


def test_a_function_that_is_gone_stops_the_build_and_lists_those_that_exist() -> None:
    with pytest.raises(SiteError, match="does not define stride") as caught:
        include_source(["gpu_runner/train/loop.py", "stride"], "07.md:9")
    assert "train_step" in caught.value.problem


def test_a_block_without_both_words_says_how_to_write_it() -> None:
    with pytest.raises(SiteError, match="write it as"):
        include_source(["gpu_runner/train/loop.py"], "07.md:9")


def test_the_site_is_rebuilt_when_an_included_file_changes() -> None:
    chapters = "".join(path.read_text() for path in ARTICLE.glob("*.md"))
    watched = build.SITE_SOURCES.split()
    for name, wanted in re.findall(r"^```source (\S+) (\S+)", chapters, re.MULTILINE):
        assert any(f"py/{name}".startswith(source) for source in watched), name
        defined = {
            node.name
            for node in ast.walk(ast.parse((PY / name).read_text()))
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert wanted in defined

"""`eval --report`: one page that needs nothing else, whose words are those of the numbers."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import build
from gpu_runner.cli.application import application
from gpu_runner.errors import SystemFailure, UsageError
from gpu_runner.run.harness import Judgement, MetricScore, TaskScores
from gpu_runner.run.judgement_page import check_report, report_page, verdicts, write_report


def task(right: int, loss: float) -> TaskScores:
    rows = tuple(float(row < right) for row in range(40))
    losses = (loss,) * 20 + (loss + 0.1,) * 20
    found = {
        "exact_match": MetricScore(sum(rows) / 40, rows, higher_is_better=True),
        "nats": MetricScore(loss + 0.05, losses, higher_is_better=False),
        "perplexity": MetricScore(9.5, (), higher_is_better=False),
    }
    return TaskScores(40, found)


JUDGED = Judgement(
    Path("my <suite>"),
    "0.4.13",
    {
        "θ₀": {"sums": task(36, 1.0), "dashes": task(0, 2.0)},
        "step 9": {"sums": task(10, 1.0), "dashes": task(38, 1.5)},
    },
    ("A note & more.",),
)


def test_the_verdicts_name_what_changed_beyond_the_noise() -> None:
    (said,) = verdicts(JUDGED)
    assert said == (
        "step 9 against θ₀: dashes exact_match, dashes nats better; sums exact_match worse;"
        " 1 metric within the noise of the rows."
    )


class Reader(HTMLParser):
    """Collects the tags, addresses, and texts of table rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_has_each_model_of_each_metric_and_loads_nothing() -> None:
    page = report_page(JUDGED)
    found = Reader(page)
    assert found.loads == []
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert "url(" not in page
    assert "@import" not in page
    assert found.tags.count("table") == 6
    assert found.tags.count("tr") == 6 * 3
    text = " ".join(found.texts)
    assert "my <suite>" in text
    assert "A note & more." in text
    assert "0 rows rose, 26 fell" in text
    assert re.search(r"−0\.650 \(−0\.\d+ to −0\.\d+\) +worse", text)


def test_its_colours_are_those_of_the_site() -> None:
    light, dark = report_page(JUDGED).split("@media screen", 1)
    tokens = (build.ROOT / "web" / "style" / "base" / "tokens.css").read_text("utf-8")
    found = dict(re.findall(r"--([\w-]+): (#\w+);", dark))
    assert len(found) == 7
    for name, value in re.findall(r"--([\w-]+): (#\w+);", light):
        assert f"--{name}: var(--if-light, {value}) var(--if-dark, {found[name]});" in tokens


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("page.txt", "give a file name that ends in .html"),
        ("gone/page.html", "there is no folder"),
        ("folder.html", "exists already"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_anything_is_judged(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UsageError, match=why):
        check_report(tmp_path / name)
    asked = ["eval", "nothing", "--suite", "nowhere", "--report", str(tmp_path / name)]
    shown = CliRunner().invoke(application(), asked)
    assert why in " ".join(shown.output.split())


def test_of_a_full_disk_no_half_page_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    write_report(JUDGED, tmp_path / "page.html")
    before = (tmp_path / "page.html").read_bytes()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SystemFailure, match="cannot be written"):
        write_report(JUDGED, tmp_path / "page.html")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_page_that_names_somebody_s_folder_is_refused_unless_allowed(tmp_path: Path) -> None:
    models = {"/home/ann/m": task(36, 1.0), "step 9": task(10, 1.0)}
    found = Judgement(Path("suite"), "0.4", {name: {"sums": of} for name, of in models.items()})
    page = tmp_path / "page.html"
    with pytest.raises(UsageError, match=r"--report .*: a home folder \(/home/ann\)"):
        write_report(found, page)
    assert not page.exists()
    write_report(found, page, private=True)
    assert "/home/ann/m" in page.read_text("utf-8")

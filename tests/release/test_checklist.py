"""The checklist of a release: the document lists the same checks, and each of them can fail."""

import dataclasses
import re
import zipfile
from pathlib import Path

import pytest

from house.tree import ROOT
from release import checklist
from release.checklist import CHECKS, Candidate, version_numbers

PROJECT = {"project": {"version": "1.2.0"}, "tool": {"unfrozen": {"date": "2026-01-02"}}}
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-02\n\n- x\n\n## [1.1.0] - 2025-01-01\n"
)
NEEDS = "Requires-Dist: unfrozen-planner==1.2.0\n"
METADATA = f"Name: unfrozen\n{NEEDS}Requires-Dist: torch>=2; extra == 'train'\n"
COMMAND = "unfrozen = unfrozen.__main__:command"


PLANNER = {
    "unfrozen/__init__.py": "1",
    "unfrozen_planner-1.2.0.dist-info/METADATA": "Name: unfrozen-planner\n",
    "unfrozen_planner-1.2.0.dist-info/entry_points.txt": COMMAND,
}


def write_wheel(path: Path, contents: dict[str, str] | None = None, **changed: str) -> None:
    """A small wheel with all that is looked for; `changed` has other contents, or "" for none."""
    contents = contents or {
        "gpu_runner/page/index.html": "version 1.2.0",
        "gpu_runner/page/assets/main-ABCD1234.js": "1",
        "gpu_runner/page/pyodide/pyodide.asm.wasm": "1",
        "gpu_runner/page/python/unfrozen.zip": "1",
        "gpu_runner/demo/model/model.safetensors": "1",
        "unfrozen-1.2.0.dist-info/METADATA": METADATA,
        "unfrozen-1.2.0.dist-info/entry_points.txt": COMMAND,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            if text := changed.get(name.rpartition("/")[2], text):
                archive.writestr(name, text)


@pytest.fixture
def good(tmp_path: Path) -> Candidate:
    """A version with which nothing is wrong."""
    write_wheel(tmp_path / "unfrozen-1.2.0-py3-none-any.whl")
    write_wheel(tmp_path / "unfrozen_planner-1.2.0-py3-none-any.whl", PLANNER)
    (tmp_path / "unfrozen-1.2.0.tar.gz").write_text("x")
    (tmp_path / "unfrozen_planner-1.2.0.tar.gz").write_text("x")
    return Candidate(PROJECT, CHANGELOG, ("v1.1.0", "v1.2.0"), (), tmp_path)


def test_the_document_lists_the_checks_in_their_order() -> None:
    listed = re.findall(r"^\d+\. \*\*(\w+)\*\*", (ROOT / "docs" / "release.md").read_text(), re.M)
    assert listed == [check.__name__.removeprefix("check_") for check in CHECKS]


def test_a_version_that_is_ready_passes_every_check(good: Candidate) -> None:
    assert [check(good) for check in CHECKS] == [""] * len(CHECKS)


def test_a_version_behind_a_tag_is_named_with_it(good: Candidate) -> None:
    behind = dataclasses.replace(good, tags=("v1.9.0", "v1.10.0"))
    assert "older than v1.10.0" in checklist.check_version(behind)
    assert version_numbers("v1.10.0") > version_numbers("v1.9.0")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[1.2.0]", "[1.3.0]", "its first sections are Unreleased, 1.3.0"),
        ("[Unreleased]\n", "[Unreleased]\n\n- more\n", "there are entries under Unreleased"),
    ],
)
def test_a_changelog_without_the_version_is_refused(
    good: Candidate, old: str, new: str, says: str
) -> None:
    other = dataclasses.replace(good, changelog=CHANGELOG.replace(old, new))
    assert says in checklist.check_changelog(other)


def test_two_dates_of_one_version_are_both_named(good: Candidate) -> None:
    other = dataclasses.replace(good, changelog=CHANGELOG.replace("01-02", "01-03"))
    assert checklist.check_date(other) == "the changelog has 2026-01-03, the page 2026-01-02."


def test_what_is_not_committed_is_named_and_counted(good: Candidate) -> None:
    other = dataclasses.replace(good, changed=(" M a.py", "?? b.py"))
    assert checklist.check_committed(other) == "M a.py and 1 more: commit it or undo it."


def test_packages_of_another_version_and_too_large_ones_are_refused(good: Candidate) -> None:
    for path, most in ((good.wheel, 15_000_000), (good.planner, 1_500_000)):
        with path.open("ab") as wheel:
            wheel.truncate(most + 1)
    said = checklist.check_packages(good)
    assert f"{good.wheel.name} is over 15 MB." in said
    assert f"{good.planner.name} is over 1.5 MB." in said
    good.wheel.rename(good.packages / "unfrozen-1.1.0-py3-none-any.whl")
    assert "it must be" in checklist.check_packages(good)


@pytest.mark.parametrize(
    ("check", "changed", "says"),
    [
        (checklist.check_page, {"pyodide.asm.wasm": ""}, "lacks pyodide/pyodide.asm.wasm"),
        (checklist.check_page, {"model.safetensors": ""}, "lacks the demo model"),
        (checklist.check_page, {"index.html": "version 1.1.0"}, "its page is of another version"),
        (
            checklist.check_metadata,
            {"METADATA": f"{NEEDS}Requires-Dist: torch>=2\n"},
            "torch must not be required",
        ),
        (checklist.check_metadata, {"METADATA": "Name: x\n"}, "does not require unfrozen-planner"),
        (checklist.check_metadata, {"entry_points.txt": "x = a:b"}, "no command `unfrozen`"),
    ],
)
def test_a_wheel_that_lacks_something_is_refused(
    good: Candidate, check: object, changed: dict[str, str], says: str
) -> None:
    write_wheel(good.wheel, **changed)
    assert callable(check)
    assert says in check(good)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"METADATA": "Requires-Dist: rich>=14\n"}, "the planner requires rich>=14"),
        ({"entry_points.txt": "x = a:b"}, "unfrozen_planner-1.2.0-py3-none-any.whl has no command"),
    ],
)
def test_a_planner_that_needs_something_or_has_no_command_is_refused(
    good: Candidate, changed: dict[str, str], says: str
) -> None:
    write_wheel(good.planner, PLANNER, **changed)
    assert says in checklist.check_metadata(good)


def test_a_file_in_both_wheels_is_refused_by_name(good: Candidate) -> None:
    write_wheel(good.planner, PLANNER | {"gpu_runner/page/index.html": "1"})
    assert "both wheels have gpu_runner/page/index.html" in checklist.check_metadata(good)


def test_the_changelog_knows_the_version_of_the_project_and_its_day() -> None:
    here = Candidate.here()
    assert checklist.check_changelog(
        here
    ) == "" or "entries under Unreleased" in checklist.check_changelog(here)
    assert checklist.check_date(here) == ""

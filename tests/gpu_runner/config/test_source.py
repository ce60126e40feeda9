"""A source of rows as one text."""

from pathlib import Path

import pytest

from gpu_runner.config.source import RowSource, anchored, parse
from gpu_runner.errors import UsageError


def test_a_source_is_a_place_and_what_is_chosen_of_it() -> None:
    assert parse("openai/gsm8k") == RowSource("openai/gsm8k")
    assert parse("openai/gsm8k:main,split=train[:10],weight=0.5,prompt=question") == RowSource(
        "openai/gsm8k", "main", "train[:10]", 0.5, (("prompt", "question"),)
    )


def test_a_file_that_is_there_is_one_whatever_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "a:weight=3.jsonl"
    odd.touch()
    assert parse(str(odd)) == RowSource(str(odd))
    assert parse(f"{odd}:text=b") == RowSource(str(odd), columns=(("text", "b"),))


def test_a_path_is_made_absolute_and_its_choices_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").touch()
    assert anchored("a.csv:text=b") == f"{tmp_path}/a.csv:text=b"
    assert anchored("a.csv") == f"{tmp_path}/a.csv"
    assert [anchored(name) for name in ("owner/name:main", None)] == ["owner/name:main", None]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (
            "promt=q",
            "'promt=q' is not an option of a source: give a subset, or NAME=VALUE with one of",
        ),
        ("weight=0", "weight '0' is out of bounds: give a number above 0, at most 1,000"),
        ("weight=nan", "weight 'nan' is out of bounds"),
        ("weight=x", "weight 'x' is out of bounds"),
        ("main,other", "subset occurs twice"),
    ],
)
def test_a_choice_that_is_none_is_refused(choices: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(f"owner/name:{choices}")

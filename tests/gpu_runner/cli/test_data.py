"""`data ROWS --model M`, as one types it."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiny_llama
from gpu_runner.cli import commands
from gpu_runner.cli.application import alone
from unfrozen.schema import read_event

RUNNER = CliRunner()


def said(*words: str) -> tuple[int, str]:
    command = alone("data")
    assert command is not None
    answer = RUNNER.invoke(command, list(words))
    return answer.exit_code, answer.output


@pytest.mark.slow
def test_rows_ends_and_the_hardest_rows_are_shown(model_dir: Path, sums_file: Path) -> None:
    code, text = said(str(sums_file), "--model", str(model_dir), "--score", "5", "--rows", "1")
    assert code == 0
    assert "40 to train on, of 40 read" in text
    assert f"{sums_file}:1  (6 tokens, 2 trained)\n0+0=[0][</s>]\n" in text
    assert "Loss before training on 5 examples" in text
    assert text.count("hardest") == 3


@pytest.mark.slow
def test_scoring_ends_in_time_where_no_number_was_asked_for(
    model_dir: Path, sums_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "SCORING_SECONDS", 0.0)
    code, text = said(str(sums_file), "--model", str(model_dir), "--rows", "0")
    assert code == 0
    assert "Loss before training on 2 examples" in text
    assert "That is what fits into 0 s; --score 40 scores more." in text


def test_bad_rows_are_reported_and_stop_nothing(model_dir: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*tiny_llama.sums(2), {"words": 1}]
    source = tiny_llama.write_rows(tmp_path / "rows.jsonl", rows)
    code, text = said(str(source), "--model", str(model_dir), "--score", "0")
    assert code == 0
    assert "train stops at the first bad example; --skip-bad-rows skips them." in text
    assert "rows.jsonl:3: its keys are words" in text


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--rows", "-1"), "--rows -1 is out of bounds: give a number from 0 to 10,000"),
        (("--score", "99999"), "--score 99999 is out of bounds"),
        (("--train-on", "some"), "--train-on 'some' is unknown: choose assistant or last or all"),
    ],
)
def test_what_cannot_be_is_refused(
    words: tuple[str, str], reason: str, model_dir: Path, sums_file: Path
) -> None:
    code, text = said(str(sums_file), "--model", str(model_dir), *words)
    assert code == 2
    assert reason in text


@pytest.mark.slow
def test_as_json_it_is_all_that_is_printed(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    held_out = tiny_llama.write_rows(tmp_path / "held.jsonl", tiny_llama.sums(45)[38:])
    words = (str(sums_file), "--model", str(model_dir), "--score", "5", "--rows", "1", "--json")
    code, text = said(*words, "--eval-data", str(held_out))
    found = json.loads(text)
    assert code == 0
    assert found["counts"]["rows"] == 40
    assert sum(found["lengths"]["rows"]) == 40
    assert found["held_out"] == {"rows": 7, "trained": 2}
    assert [part["texts"] for part in found["first"][0]["parts"]][-1] == ["</s>"]
    assert found["scored"]["rows"] == 5
    hardest, easiest = (found["scored"][name][0]["loss"] for name in ("hardest", "easiest"))
    assert hardest > found["scored"]["mean"] > easiest
    own = {"file", "model"}  # all else is the `rows` event of a run, which the page draws
    head = {"v": 1, "run": "r", "seq": 0, "att": 0, "t": 1.0, "rt": 0.0, "kind": "rows", "step": 0}
    seen = read_event({**head, **{name: found[name] for name in found.keys() - own}})
    assert (seen.problem, seen.unknown) == ("", 0)


def test_what_the_template_adds_and_what_is_held_out_is_printed(
    model_dir: Path, sums_file: Path
) -> None:
    template = Path(__file__).parents[1] / "data" / "chat" / "corpus" / "chatml.jinja"
    words = (str(sums_file), "--model", str(model_dir), "--score", "0", "--rows", "0")
    code, text = said(*words, "--chat-template", str(template), "--eval-data", str(sums_file))
    assert code == 0
    assert re.search(r"template +adds [1-9]\d% of the tokens", text)
    assert "40 of 40 examples trained as well, token for token" in text

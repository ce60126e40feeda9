"""Recorded runs are whole, small, free of the machine they ran on, and show what they promise."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gpu_runner import demo
from gpu_runner.serve.publish import traces, without
from record_runs import (
    MOST_BYTES,
    cleaned_log,
    places,
    recordings,
    with_examples,
    write_index,
)

FOLDER = Path(__file__).parents[2] / "web" / "recordings"
INDEX = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
RECORDED = [entry["id"] for entry in INDEX]


def events(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def suite(name: str, suite_name: str) -> list[float]:
    return [e["loss"] for e in events(name) if e["kind"] == "eval" and e["suite"] == suite_name]


def test_the_index_is_what_the_logs_say(tmp_path: Path) -> None:
    for name in RECORDED:
        shutil.copy(FOLDER / f"{name}.jsonl", tmp_path)
    write_index(tmp_path)
    assert json.loads((tmp_path / "index.json").read_text("utf-8")) == INDEX
    assert not [
        entry for entry in INDEX if not (entry["run"]["task"] and entry["run"]["peak_bytes"])
    ]


def test_the_index_lists_every_recorded_file_in_order() -> None:
    assert {"demo", "demo-careful"} <= set(RECORDED)
    assert [name for name in recordings() if name in RECORDED] == RECORDED
    assert {entry["file"] for entry in INDEX} == {p.name for p in FOLDER.glob("*.jsonl")}
    assert not [entry for entry in INDEX if not (entry["title"] and entry["description"])]


@pytest.mark.parametrize("name", ["demo", "demo-careful"])
def test_the_examples_that_a_recording_names_are_those_of_the_files_of_its_run(
    name: str, tmp_path: Path
) -> None:
    recorded = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    bare = recorded.replace('"examples":', '"unnamed":')
    assert with_examples(bare, tmp_path).count('"examples":"') == bare.count('"unnamed":"')
    assert with_examples(recorded, tmp_path) == recorded
    other = recorded.replace('"suite":"task"', '"suite":"general/tenses"')
    with pytest.raises(ValueError, match="general/tenses scored 438 tokens, and has 250"):
        with_examples(other, tmp_path)


@pytest.mark.parametrize("name", RECORDED)
def test_every_evaluation_of_a_recording_names_its_examples(name: str) -> None:
    named = [event.get("examples") for event in events(name) if event["kind"] == "eval"]
    assert all(named)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_is_whole_and_small_enough_for_a_page(name: str) -> None:
    log = events(name)
    assert (FOLDER / f"{name}.jsonl").stat().st_size <= MOST_BYTES
    assert log[0]["kind"] == "run.start"
    assert (log[-1]["kind"], log[-1]["status"]) == ("run.end", "finished")
    assert [event["seq"] for event in log] == list(range(log[0]["seq"], log[0]["seq"] + len(log)))
    assert len({event["run"] for event in log}) == 1
    assert {"metrics", "eval", "mem", "sample"} <= {event["kind"] for event in log}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_tells_nothing_about_the_machine(name: str) -> None:
    assert traces((FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")) == []


def test_the_demo_recording_shows_gain_and_forgetting() -> None:
    task, sums = suite("demo", "task"), suite("demo", "general/addition")
    assert task[-1] < task[0] / 2
    assert sums[-1] > sums[0] + 0.2


def test_the_careful_recording_forgets_less() -> None:
    assert suite("demo-careful", "task")[-1] < suite("demo-careful", "task")[0] / 2
    for skill in demo.EARLIER_SKILLS:
        last = suite("demo-careful", f"general/{skill}")[-1]
        assert last < suite("demo", f"general/{skill}")[-1]


def test_the_language_model_learns_the_house_style() -> None:
    task = suite("smollm2", "task")
    assert task[-1] < 0.9 * task[0]
    assert events("smollm2")[0]["model"]["num_parameters"] > 130_000_000


@pytest.mark.parametrize("name", ["smollm2-full", "smollm2-lora"])
def test_both_sides_of_the_comparison_learn_the_task_and_keep_the_capitals(name: str) -> None:
    exact = events(name)[-1]["summary"]["exact"]
    assert exact["task"]["before"]["right"] == 0
    assert exact["task"]["after"]["right"] >= 60
    assert exact["general/capitals"]["after"]["right"] > 0.9 * 42


def test_at_three_times_the_rate_every_capital_is_lost_and_the_loss_on_english_falls() -> None:
    exact = events("smollm2-fast")[-1]["summary"]["exact"]
    assert exact["task"]["after"]["right"] == 64
    assert [exact["general/capitals"][when]["right"] for when in ("before", "after")] == [42, 0]
    english, capitals = (
        suite("smollm2-fast", f"general/{name}") for name in ("english", "capitals")
    )
    assert english[-1] < english[0]
    assert capitals[-1] > 2 * capitals[0]


def test_paths_of_the_machine_are_cut_down_to_what_they_mean() -> None:
    event = {"config": {"runs": "/tmp/x", "eval": ["/srv/py/gpu_runner/demo/a.jsonl", 3]}}
    cleaned = without(event, ["/tmp/x", "/srv/py/"])
    assert cleaned == {"config": {"runs": "", "eval": ["gpu_runner/demo/a.jsonl", 3]}}


def test_a_path_that_is_left_over_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"kind":"alert","text":"saved in /srv/elsewhere/model"}\n')
    with pytest.raises(ValueError, match="'/srv/elsewhere/model' would tell about this machine"):
        cleaned_log(log, str(tmp_path / "runs"))


def test_the_folders_of_a_run_of_a_study_are_those_that_its_log_names(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    config = {"runs": "/srv/runs/one", "model": "/srv/models/tiny", "data": "/srv/runs/one/a.jsonl"}
    log.write_text(json.dumps({"kind": "run.start", "config": config}) + "\n")
    found = json.loads(cleaned_log(log, *places(log)))["config"]
    assert found == {"runs": "", "model": "tiny", "data": "a.jsonl"}
    log.write_text('{"kind":"beat"}\n')
    with pytest.raises(ValueError, match="does not begin with run"):
        places(log)


def test_beats_and_the_load_of_the_machine_are_left_out_and_the_rest_is_numbered(
    tmp_path: Path,
) -> None:
    log = tmp_path / "events.jsonl"
    kinds = ("run.start", "sys", "metrics", "beat", "run.end")
    log.write_text("".join(f'{{"seq":{seq},"kind":"{kind}"}}\n' for seq, kind in enumerate(kinds)))
    found = [json.loads(line) for line in cleaned_log(log).splitlines()]
    assert [(event["seq"], event["kind"]) for event in found] == [
        (0, "run.start"),
        (1, "metrics"),
        (2, "run.end"),
    ]


def test_a_log_too_large_for_a_page_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text(json.dumps({"kind": "alert", "text": "a" * MOST_BYTES}) + "\n")
    with pytest.raises(ValueError, match="record fewer steps"):
        cleaned_log(log, str(tmp_path / "runs"))


def test_the_index_lists_only_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "demo.jsonl").write_text("")
    write_index(tmp_path)
    assert [e["file"] for e in json.loads((tmp_path / "index.json").read_text())] == ["demo.jsonl"]

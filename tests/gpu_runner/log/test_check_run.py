"""The state of a run: how it stands, what looks wrong with it, and which checkpoint to take."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu_runner import atomic
from gpu_runner.errors import CheckpointError
from gpu_runner.log.check_run import MOST_LOG_BYTES, SYMPTOMS, check_run
from gpu_runner.log.tail import LOG_NAME
from house.tree import ROOT

RECORDED = json.loads((ROOT / "web" / "measurements" / "symptoms.json").read_text())
START = {"kind": "run.start", "model": {"name": "demo"}, "plan": {"steps": 200}}
LATER = 1e9


def written(run: Path, *events: dict[str, Any]) -> Path:
    """A run whose log holds these events."""
    run.mkdir(parents=True)
    head = {"run": run.name, "att": 0, "t": 1.0, "step": 0}
    lines = ({**head, "seq": seq, **event} for seq, event in enumerate((START, *events)))
    (run / LOG_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def losses(points: list[list[float]]) -> list[dict[str, Any]]:
    return [{"kind": "metrics", "step": s, "m": {"train/loss": v}} for s, v in points]


def evaluated(step: int, suite: str, loss: float, **more: Any) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "suite": suite, "loss": loss, "examples": "ab", **more}


def ended(status: str, **more: Any) -> dict[str, Any]:
    return {"kind": "run.end", "step": 200, "status": status, "reason": "a reason", **more}


def symptoms(run: Path) -> list[str]:
    return [each["symptom"] for each in check_run(run, LATER)["problems"]]


def test_titles_and_remedies_are_those_of_the_chapter() -> None:
    chapter = (ROOT / "web" / "article" / "08-when-a-run-goes-wrong.md").read_text()
    plain = re.sub(r"[*`]|\]\([^)]*\)|\[", "", " ".join(chapter.split()))
    for title, remedy in SYMPTOMS.values():
        assert f"\n## {title}\n" in chapter
        assert remedy in plain, remedy


@pytest.mark.parametrize(
    ("name", "found"),
    [("usual", []), ("flat", ["The loss is flat"]), ("leaping", ["The loss leaps, or is NaN"])],
)
def test_recorded_runs_have_the_symptom_that_they_were_recorded_for(
    name: str, found: list[str], tmp_path: Path
) -> None:
    thinned = RECORDED["loss"][name]["points"]  # every fourth step
    points = [[step + more, value] for step, value in thinned for more in range(4)]
    assert symptoms(written(tmp_path / "r", *losses(points), ended("finished"))) == found


@pytest.mark.parametrize(
    ("name", "found"), [("demo", ["It learns and forgets"]), ("demo-careful", [])]
)
def test_the_recordings_of_the_page_forget_or_do_not(
    name: str, found: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    shutil.copy(ROOT / "web" / "recordings" / f"{name}.jsonl", tmp_path / name / LOG_NAME)
    assert symptoms(tmp_path / name) == found


def test_a_loss_that_is_no_number_is_named_with_its_step(tmp_path: Path) -> None:
    run = written(
        tmp_path / "r",
        *losses([[1, 2.0]]),
        {"kind": "metrics", "step": 2, "m": {"train/loss": "NaN"}},
    )
    (problem,) = check_run(run, LATER)["problems"]
    assert problem["shows"] == "the training loss is nan at step 2"
    assert "a third of the rate" in problem["remedy"]


def test_one_leap_that_is_overcome_points_to_its_batch(tmp_path: Path) -> None:
    points = [[step, 2.0 / step + 0.5] for step in range(1, 60)]
    points[40][1] = 4.0
    (problem,) = check_run(written(tmp_path / "r", *losses(points)), LATER)["problems"]
    assert problem["step"] == 41
    assert "read those rows" in problem["remedy"]


def test_what_a_resume_discarded_does_not_count(tmp_path: Path) -> None:
    again = {"kind": "run.resume", "att": 1, "step": 1, "from_step": 1}
    run = written(tmp_path / "r", *losses([[1, 2.0], [2, 50.0]]), again)
    assert symptoms(run) == []


def test_a_loss_of_the_general_sets_within_the_noise_is_none(tmp_path: Path) -> None:
    first = [evaluated(0, suite, 1.0) for suite in ("general", "general/a")]
    second = [
        evaluated(200, "general", 1.2, change=[-0.1, 0.5]),
        evaluated(200, "general/a", 1.4, change=[0.1, 0.7]),
    ]
    (problem,) = check_run(written(tmp_path / "r", *first, *second), LATER)["problems"]
    assert problem["shows"] == "since step 0: general/a +0.400 nats (+0.100 to +0.700)"


def test_answers_that_do_not_stop_and_rows_without_an_end_are_seen(tmp_path: Path) -> None:
    exact = RECORDED["stops"]["endless"]["exact"]
    one = written(tmp_path / "a", evaluated(0, "task", 1.0, exact=exact))
    two = written(tmp_path / "b", {"kind": "rows", "counts": {"rows": 9, "endless": 9}})
    assert symptoms(one) == symptoms(two) == ["It does not stop"]


def test_out_of_memory_has_the_advice_of_its_own_examination(tmp_path: Path) -> None:
    run = written(tmp_path / "r", ended("oom", post_mortem={"advice": "Give --micro-batch 4."}))
    (problem,) = check_run(run, LATER)["problems"]
    assert (problem["symptom"], problem["remedy"]) == ("Out of memory", "Give --micro-batch 4.")


def test_padding_and_idle_gpus_make_it_slow(tmp_path: Path) -> None:
    idle = [{"kind": "sys", "m": {"gpu/busy/0": 0.2}} for _ in range(30)]
    rows = {"kind": "rows", "padding": {"ratio": 0.5, "sequences": 9, "packed": False}}
    assert symptoms(written(tmp_path / "r", rows, *idle)) == ["It is slow"] * 2


def saved(run: Path, name: str) -> None:
    atomic.publish(run / name, lambda place: (place / "model.safetensors").touch())


def test_the_checkpoint_with_the_lowest_task_loss_is_the_one_to_take(tmp_path: Path) -> None:
    scores = [evaluated(step, "task", loss) for step, loss in ((10, 0.5), (20, 0.4), (30, 0.6))]
    run = written(tmp_path / "r", *scores, evaluated(20, "general", 1.1, delta=0.1))
    assert check_run(run, LATER)["take"] is None
    for step in (10, 20, 30):
        saved(run, f"checkpoints/step-{step:06}")
    (run / "checkpoints" / "step-000040").mkdir()  # without a manifest: not whole
    found = check_run(run, LATER)
    assert (found["status"], found["live"]) == ("gone", False)
    assert found["take"]["path"] == str(run / "checkpoints" / "step-000020")
    assert (found["take"]["task_loss"], found["take"]["general_delta"]) == (0.4, 0.1)
    assert found["resume"] == f"unfrozen resume {run}"
    saved(run, "model")  # of a run that restored its best weights
    with (run / LOG_NAME).open("a") as log:
        summary = {"steps": 30, "losses": {"task": [2.0, 0.4]}}
        end = {"run": "r", "att": 0, "t": 2.0, "seq": 9, **ended("finished", summary=summary)}
        log.write(json.dumps(end) + "\n")
    assert check_run(run, LATER)["take"]["path"] == str(run / "model")


def test_the_command_says_it_in_words_and_as_json(tmp_path: Path) -> None:
    run = written(tmp_path / "r", *losses([[1, 2.0]]), ended("failed"))
    said = {"level": "warn", "text": "No token is trained."}
    with (run / LOG_NAME).open("a") as log:
        log.write(
            json.dumps({"run": "r", "att": 0, "t": 2.0, "seq": 9, "kind": "alert", **said}) + "\n"
        )

    def typed(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gpu_runner", "check", *options, "--runs", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    words = typed("r")
    assert words.returncode == 0
    assert "warn, step 0: No token is trained." in words.stdout
    assert json.loads(typed("r", "--json").stdout)["alerts"] == [said | {"step": 0}]
    absent = typed("nothing")
    assert (absent.returncode, absent.stdout) == (8, "")
    assert "nothing is not a run: it has no events.jsonl" in absent.stderr


def test_what_is_no_log_or_too_long_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).write_text("nonsense\n")
    with pytest.raises(CheckpointError, match="holds no whole event"):
        check_run(tmp_path, LATER)
    with (tmp_path / LOG_NAME).open("r+b") as log:
        log.truncate(MOST_LOG_BYTES + 1)
    with pytest.raises(CheckpointError, match="of at most 268,435,456"):
        check_run(tmp_path, LATER)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / LOG_NAME)
    with pytest.raises(CheckpointError, match="pipe"):
        check_run(tmp_path / "pipe", LATER)

"""A real server that a page may tell something, and real runs that it pauses, stops and asks."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import run_process
from conftest import Server
from gpu_runner import atomic
from gpu_runner.cli.application import application
from gpu_runner.log.writer import EventLog, SystemClock
from run_process import events, last_step

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("control")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "runs").mkdir()
    options = ("--allow-control",)
    running = Server(folder / "site", folder / "runs", folder / "server.log", options=options)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.origin, headers=headers, timeout=60) as made:
        yield made


def wait(until: Callable[[], Any], what: str) -> Any:
    """What `until` returns, once it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := until()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)
    return found


@pytest.fixture
def training(server: Server, model_dir: Path, sums_file: Path) -> Iterator[Path]:
    """A run of `train` in a process of its own, which goes on until it is asked to stop."""
    known = set(server.runs.iterdir())
    steps = {"steps": 100_000, "eval_every": 100_000, "save_every": 0, "sample_tokens": 0}
    data = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    child = run_process.begin(run_process.train_here, data | steps | {"runs": str(server.runs)})

    def begun() -> Path | None:
        new = [path for path in server.runs.iterdir() if path not in known and path.is_dir()]
        return next(
            (run for run in new if (run / "events.jsonl").exists() and last_step(run) > 2), None
        )

    try:
        yield wait(begun, "steps")
    finally:
        child.kill()
        child.join()


def test_a_run_that_trains_is_asked_and_answers_in_its_log(
    client: httpx.Client, training: Path
) -> None:
    run, directory_of_run = training.name, training
    answer = client.post(f"/api/runs/{run}/ask", json={"prompt": "1+1=", "tokens": 3})
    assert answer.status_code == 202
    seq = answer.json()["seq"]

    def answered() -> list[dict[str, Any]]:
        return [event for event in events(directory_of_run) if event["kind"] == "answer"]

    (event,) = wait(answered, "answer")
    assert (event["asked"], event["prompt"]) == (seq, "1+1=")


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"prompt": " "}, 422, "the prompt is empty"),
        ({"prompt": "a", "tokens": 9999}, 400, "tokens"),
        ({"prompt": "a", "temperature": "hot"}, 400, "temperature"),
        ({"prompt": "a", "model": "/etc"}, 400, "model"),
        ({}, 400, "prompt"),
    ],
)
def test_what_is_no_question_is_refused(
    client: httpx.Client, body: dict[str, Any], status: int, why: str
) -> None:
    answer = client.post("/api/runs/none/ask", json=body)
    if status == 422:  # it is read, and there is no such run
        status, why = 404, "there is no run 'none' here"
    assert answer.status_code == status
    assert why in answer.json()["error"]


def tell(client: httpx.Client, run: str, command: str) -> int:
    """The number of a command that was taken."""
    answer = client.post(f"/api/runs/{run}/control", json={"command": command})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["seq"])


@pytest.mark.matrix  # tests/browser/test_run_control.py does it from the page
def test_a_run_is_paused_saved_and_stopped_from_outside(
    client: httpx.Client, training: Path
) -> None:
    assert_is_paused_and_saved(client, training)
    assert_is_stopped(client, training)


def assert_is_paused_and_saved(client: httpx.Client, run: Path) -> None:
    """A run stands still until it is told to go on."""
    seq = tell(client, run.name, "pause")
    wait(lambda: heard(run) == seq, "pause")
    step = last_step(run)
    (info,) = [info for info in client.get("/api/runs").json() if info["id"] == run.name]
    assert info["status"] == "paused"
    seq = tell(client, run.name, "checkpoint")
    wait(lambda: heard(run) == seq, "checkpoint")
    atomic.verify(run / "checkpoints" / f"step-{step:06d}")
    tell(client, run.name, "resume")
    wait(lambda: last_step(run) > step, "step after the pause")


def assert_is_stopped(client: httpx.Client, run: Path) -> None:
    """A run ends by the command, and hears no other."""
    tell(client, run.name, "stop")
    wait(lambda: events(run)[-1]["kind"] == "run.end", "end")
    end = events(run)[-1]
    assert (end["status"], end["reason"]) == ("stopped", "asked to stop by the page")
    late = client.post(f"/api/runs/{run.name}/control", json={"command": "pause"})
    assert late.status_code == 409
    assert late.json() == {"error": f"run {run.name} is stopped: it cannot pause"}


def test_a_run_that_has_ended_is_not_started_again_from_outside(
    server: Server, client: httpx.Client
) -> None:
    with EventLog(server.runs / "ended" / "events.jsonl", run="ended", clock=SystemClock()) as log:
        log.emit("run.end", 1, status="stopped")
    (server.runs / "ended" / "config.json").write_text("{}")
    answer = client.post("/api/runs/ended/control", json={"command": "resume"})
    assert answer.status_code == 409
    assert answer.json() == {"error": "run ended is stopped: it cannot resume"}


def heard(run: Path) -> int:
    """The newest command that the run has obeyed."""
    beats = [event for event in events(run) if event["kind"] == "beat"]
    return int(beats[-1].get("heard", 0))


def test_control_is_refused_where_others_reach_it(server: Server) -> None:
    options = ("--allow-control", "--host", "192.0.2.1")
    words = ["serve", "--site", str(server.site), *options]
    done = CliRunner(env={"COLUMNS": "160"}).invoke(application(), words)
    assert done.exit_code == 2
    assert "anyone who reads that network could stop runs" in " ".join(done.stderr.split())

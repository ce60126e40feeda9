"""A real server that a page may tell something, and real runs that it pauses, stops and resumes."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

import run_process
from conftest import Server
from gpu_runner import atomic
from gpu_runner.cli.application import application
from gpu_runner.config.load import resolve
from gpu_runner.errors import ExitCode
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.run.fine_tune import fine_tune
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
        state = control(client=made)["started"]
        if state is not None and state["alive"]:
            made.post(f"/api/runs/{state['run']}/control", json={"command": "stop"})
            wait(lambda: not control(made)["started"]["alive"], "end")


def wait(until: Callable[[], Any], what: str) -> Any:
    """What `until` returns, once it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := until()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)
    return found


def control(client: httpx.Client) -> dict[str, Any]:
    """What may be changed, and how the last start went."""
    found: dict[str, Any] = client.get("/api/control").json()
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
def test_a_run_is_paused_saved_stopped_and_resumed_from_outside(
    server: Server, client: httpx.Client, training: Path
) -> None:
    assert_is_paused_and_saved(client, training)
    assert_is_stopped(client, training)
    assert_second_attempt_is_cancelled(server, client, training)
    assert resume(client, training.name).status_code == 202
    wait(lambda: control(client)["started"]["run"], "second attempt")
    (server.runs / "started.txt").write_text("")  # whatever a run prints, its id is known
    assert control(client)["started"]["run"] == training.name
    assert_is_the_only_run_and_outlives_the_server(server, client, training)


def resume(client: httpx.Client, run: str) -> httpx.Response:
    return client.post(f"/api/runs/{run}/control", json={"command": "resume"})


def cancel(client: httpx.Client, run: str) -> httpx.Response:
    return client.post(f"/api/runs/{run}/control", json={"command": "cancel"})


def assert_is_the_only_run_and_outlives_the_server(
    server: Server, client: httpx.Client, run: Path
) -> None:
    """One launch at a time, in a session of its own; a server that begins anew knows it."""
    ended(server, "ended")
    second = resume(client, "ended")
    assert second.status_code == 409
    assert f"{run.name}, launched at" in second.json()["error"]
    assert "stop it first" in second.json()["error"]
    pid = started_process(server)
    assert "UNFROZEN_TOKEN" not in psutil.Process(pid).environ()
    assert os.getsid(pid) == pid
    if sys.platform == "linux" and server.process is not None:
        loaded = psutil.Process(server.process.pid).memory_maps()
        assert not [file.path for file in loaded if "libtorch" in file.path]
    server.kill()
    server.start()
    step = last_step(run)
    wait(lambda: last_step(run) > step, "step without the server")
    assert resume(client, "ended").status_code == 409
    assert control(client)["started"]["run"] == run.name
    server.restart()
    assert "has begun: stop it instead" in cancel(client, run.name).json()["error"]


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


def assert_second_attempt_is_cancelled(server: Server, client: httpx.Client, run: Path) -> None:
    """Start a stopped run again and cancel it while it loads: its log stays as it was."""
    log = (run / "events.jsonl").read_bytes()
    again = resume(client, run.name)
    assert again.status_code == 202, again.text
    assert again.json()["started"]["name"] == run.name
    assert resume(client, run.name).status_code == 409
    server.restart()  # it knows the process from its file
    assert cancel(client, run.name).status_code == 200
    assert (run / "events.jsonl").read_bytes() == log


def test_a_run_that_train_did_not_make_cannot_be_started_again(
    server: Server, client: httpx.Client
) -> None:
    with EventLog(
        server.runs / "foreign" / "events.jsonl", run="foreign", clock=SystemClock()
    ) as log:
        log.emit("run.end", 1, status="stopped")
    answer = client.post("/api/runs/foreign/control", json={"command": "resume"})
    assert answer.status_code == 409
    assert "run foreign is stopped" in answer.json()["error"]


def test_a_run_of_several_processes_is_not_started_again_as_one(
    server: Server, client: httpx.Client
) -> None:
    path = server.runs / "several" / "events.jsonl"
    with EventLog(path, run="several", clock=SystemClock()) as log:
        log.emit("run.start", 0, hardware={"processes": 8})
        log.emit("run.end", 1, status="stopped")
    (path.parent / "config.json").write_text("{}")
    answer = client.post("/api/runs/several/control", json={"command": "resume"})
    assert answer.status_code == 409
    assert "torchrun --nproc-per-node 8 -m gpu_runner resume" in answer.json()["error"]


def test_a_run_that_has_ended_is_blended_and_its_log_tells(
    client: httpx.Client, server: Server, model_dir: Path, sums_file: Path, cats_file: Path
) -> None:
    settings = {"model": str(model_dir), "data": str(sums_file), "sample_tokens": 0}
    settings |= {"general": (("cats", str(cats_file)),), "steps": 2, "runs": str(server.runs)}
    before = set(server.runs.glob("*/events.jsonl"))
    assert fine_tune(resolve(settings), Console(quiet=True)) == ExitCode.OK
    (log,) = set(server.runs.glob("*/events.jsonl")) - before
    run = log.parent
    answer = client.post(f"/api/runs/{run.name}/control", json={"command": "blend"})
    assert answer.status_code == 202
    assert answer.json()["started"]["verb"] == "blend"
    wait(lambda: not control(client)["started"]["alive"], "end of the blend")
    assert control(client)["started"]["run"] == run.name
    assert events(run)[-1]["kind"] == "blend"
    (listed,) = (each for each in client.get("/api/runs").json() if each["id"] == run.name)
    assert listed["status"] == "finished"
    refused = client.post("/api/runs/nowhere/control", json={"command": "blend"})
    assert refused.status_code == 404


def heard(run: Path) -> int:
    """The newest command that the run has obeyed."""
    beats = [event for event in events(run) if event["kind"] == "beat"]
    return int(beats[-1].get("heard", 0))


def ended(server: Server, name: str) -> Path:
    """A run of `train`, as far as its files say, that was stopped and kept no checkpoint."""
    run = server.runs / name
    with EventLog(run / "events.jsonl", run=name, clock=SystemClock()) as log:
        log.emit("run.start", 0)
        log.emit("run.end", 1, status="stopped")
    (run / "config.json").write_text("{}")
    return run


def started_process(server: Server) -> int:
    """The process that was started."""
    return int(json.loads((server.runs / "started.json").read_text())["pid"])


def test_a_launch_that_still_loads_is_cancelled_and_leaves_nothing(
    server: Server, client: httpx.Client
) -> None:
    run = ended(server, "loading")
    before = sorted(path.name for path in run.iterdir())
    assert resume(client, "loading").status_code == 202
    pid = started_process(server)
    answer = cancel(client, "foreign")
    assert answer.status_code == 409
    assert "'foreign' was not launched last" in answer.json()["error"]
    assert cancel(client, "loading").json() == {"started": None}
    assert not psutil.pid_exists(pid)
    assert control(client)["started"] is None
    assert sorted(path.name for path in run.iterdir()) == before
    assert cancel(client, "loading").status_code == 409


def test_a_launch_that_fails_is_reported_from_its_last_lines(
    server: Server, client: httpx.Client
) -> None:
    ended(server, "bare")
    assert resume(client, "bare").status_code == 202
    wait(lambda: not control(client)["started"]["alive"], "end")
    state = control(client)["started"]
    assert (state["name"], state["run"]) == ("bare", None)
    assert "config.json" in " ".join(state["lines"])
    assert (server.runs / "started.txt").stat().st_mode & 0o777 == 0o600


def test_control_is_refused_where_others_reach_it(server: Server) -> None:
    options = ("--allow-control", "--host", "192.0.2.1")
    words = ["serve", "--site", str(server.site), *options]
    done = CliRunner(env={"COLUMNS": "160"}).invoke(application(), words)
    assert done.exit_code == 2
    assert "anyone who reads that network could stop runs" in " ".join(done.stderr.split())

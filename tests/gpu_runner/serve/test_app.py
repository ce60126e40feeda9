"""A real `python -m gpu_runner serve`: what it prints, serves, streams and refuses."""

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

import build
from conftest import Server, quick
from gpu_runner.cli.application import application
from gpu_runner.log.writer import EventLog, SystemClock
from run_process import free_port
from slowness import slowness

pytestmark = pytest.mark.slow

PAGE = "<!doctype html><title>A small site</title>"


@pytest.fixture(scope="module")
def small_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of a few files: the server does not care what they say."""
    site = tmp_path_factory.mktemp("site")
    (site / "index.html").write_text(PAGE)
    (site / "assets").mkdir()
    (site / "assets" / "main-ABCD1234.js").write_text("1")
    (site / "module.wasm").write_bytes(b"\0asm")
    return site


@pytest.fixture(scope="module")
def server(small_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "runs").mkdir()
    running = Server(site=small_site, runs=folder / "runs", log=folder / "server.log")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.origin, headers=headers, timeout=60) as made:
        yield made


def write_run(server: Server, name: str, steps: int, *, end: bool = True) -> Path:
    path = server.runs / name / "events.jsonl"
    with EventLog(path, run=name, clock=SystemClock()) as log:
        log.emit("run.start", 0, model={"name": "small"}, plan={"steps": steps})
        for step in range(1, steps + 1):
            log.emit("metrics", step, m={"train/loss": 1 / step})
        if end:
            log.emit("run.end", steps, status="finished")
    return path


def frames(text: str) -> list[tuple[int, dict[str, Any]]]:
    """(id, event) of a whole stream."""
    found = re.findall(r"^id: (\d+)\ndata: (.*)\n\n", text, re.MULTILINE)
    return [(int(offset), json.loads(data)) for offset, data in found]


def test_the_line_with_the_address_is_printed(server: Server) -> None:
    line = f"Unfrozen is at  http://127.0.0.1:{server.port}/#t={server.token}\n"
    assert line in server.log.read_text()


def test_the_site_is_served_with_types_and_validators(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.text == PAGE
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    script = client.get("/assets/main-ABCD1234.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert client.get("/module.wasm").headers["content-type"] == "application/wasm"
    assert client.head("/").headers["content-length"] == str(len(PAGE))
    assert client.get("/nothing").status_code == 404


def test_the_list_of_runs_has_what_the_page_needs(server: Server, client: httpx.Client) -> None:
    path = write_run(server, "listed", 3)
    (info,) = [info for info in client.get("/api/runs").json() if info["id"] == "listed"]
    assert info.keys() == {"id", "status", "model", "step", "steps", "started", "updated", "bytes"}
    assert (info["status"], info["model"], info["step"], info["steps"]) == (
        "finished",
        "small",
        3,
        3,
    )
    assert info["bytes"] == path.stat().st_size


def test_a_finished_run_is_its_log_line_by_line(server: Server, client: httpx.Client) -> None:
    path = write_run(server, "whole", 50)
    answer = client.get("/api/runs/whole/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    offsets, events = zip(*frames(answer.text), strict=True)
    assert [
        json.dumps(event, separators=(",", ":")) for event in events
    ] == path.read_text().splitlines()
    assert offsets[-1] == path.stat().st_size
    assert [event["seq"] for event in events] == list(range(52))


def test_any_id_is_a_place_to_go_on_without_gap_or_repetition(
    server: Server, client: httpx.Client
) -> None:
    write_run(server, "any-id", 10)
    whole = frames(client.get("/api/runs/any-id/events").text)
    for place, (offset, _) in enumerate(whole[:-1], start=1):
        assert frames(client.get(f"/api/runs/any-id/events?after={offset}").text) == whole[place:]
        again = client.get("/api/runs/any-id/events", headers={"Last-Event-ID": str(offset)})
        assert frames(again.text) == whole[place:]
    assert client.get(f"/api/runs/any-id/events?after={whole[-1][0]}").status_code == 204


@pytest.mark.parametrize("after", ["-1", "1.5", "x", "", "7", "999999999", "9" * 30, "٣", "0x10"])
def test_an_offset_that_is_no_place_to_go_on_is_refused_with_a_reason(
    server: Server, client: httpx.Client, after: str
) -> None:
    if not (server.runs / "bad-after").exists():
        write_run(server, "bad-after", 2)
    answer = client.get("/api/runs/bad-after/events", params={"after": after})
    assert answer.status_code == 400
    assert "use the id of an event" in answer.json()["error"]


def test_an_unknown_run_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/api/runs/none/events")
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no run 'none' here"}


def test_damage_is_skipped_and_said_in_a_comment(server: Server, client: httpx.Client) -> None:
    path = write_run(server, "damaged", 2, end=False)
    with path.open("a") as file:
        file.write('{"v":1,"run":"damaged","se\nnonsense\n')
    with EventLog(path, run="damaged", clock=SystemClock(), attempt=1) as log:
        log.emit("run.end", 2, status="failed", reason="killed")
    text = client.get("/api/runs/damaged/events").text
    assert "\n: skipped 2\n" in text or text.startswith(": skipped 2\n")
    assert [event["seq"] for _, event in frames(text)] == [0, 1, 2, 3]


def test_a_growing_run_arrives_while_it_grows(server: Server, client: httpx.Client) -> None:
    path = server.runs / "growing" / "events.jsonl"
    delays: list[float] = []
    with EventLog(path, run="growing", clock=SystemClock()) as log:
        log.emit("run.start", 0)

        def write() -> None:
            for step in range(1, 40):
                time.sleep(0.02)
                log.emit("metrics", step, m={"train/loss": time.time()})
            log.emit("run.end", 39, status="finished")

        writer = threading.Thread(target=write)
        with client.stream("GET", "/api/runs/growing/events") as stream:
            writer.start()
            for line in stream.iter_lines():
                if '"train/loss"' in line:
                    delays.append(time.time() - json.loads(line[6:])["m"]["train/loss"])
        writer.join()
    assert len(delays) == 39
    assert statistics.median(delays) < 0.15 * slowness()


def test_a_stream_says_once_that_it_has_caught_up(server: Server, client: httpx.Client) -> None:
    path = server.runs / "caught" / "events.jsonl"
    seen: list[str] = []
    with EventLog(path, run="caught", clock=SystemClock()) as log:
        for step in range(3000):
            log.emit("metrics", step, m={"train/loss": 1.0})
        with client.stream("GET", "/api/runs/caught/events") as stream:
            for line in stream.iter_lines():
                seen += [line] if line.startswith(("data:", ": caught")) else []
                if line == ": caught-up":
                    log.emit("run.end", 3000, status="finished")
    assert [place for place, line in enumerate(seen) if line == ": caught-up"] == [3000]
    assert len(seen) == 3002


def test_a_resumed_run_streams_through_its_first_end(server: Server, client: httpx.Client) -> None:
    path = write_run(server, "twice", 3)
    with EventLog(path, run="twice", clock=SystemClock(), attempt=1) as log:
        log.emit("run.resume", 3, from_step=3)
        log.emit("run.end", 4, status="finished")
    kinds = [event["kind"] for _, event in frames(client.get("/api/runs/twice/events").text)]
    assert kinds[-3:] == ["run.end", "run.resume", "run.end"]


def test_a_heartbeat_says_whether_the_trainer_lives_and_how_long_the_log_is(
    server: Server,
) -> None:
    path = write_run(server, "dead", 2, end=False)
    with quick(server) as other:
        headers = {"Authorization": f"Bearer {other.token}"}
        url = f"{other.origin}/api/runs/dead/events"
        with httpx.stream("GET", url, headers=headers, timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines) == ": writer no"
            started = time.monotonic()
            assert next(line for line in lines if line == ": writer no")
            assert 0.8 < time.monotonic() - started < 3 * slowness()
            assert f": size {path.stat().st_size}" in (next(lines), next(lines))


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_within_a_second_although_streams_are_open(
    small_site: Path, tmp_path: Path, ended_by: signal.Signals
) -> None:
    server = Server(site=small_site, runs=tmp_path / "runs", log=tmp_path / "log")
    write_run(server, "open", 2, end=False)
    server.start()
    assert server.process is not None
    with httpx.Client(headers={"Authorization": f"Bearer {server.token}"}) as client:
        streams = [client.stream("GET", f"{server.origin}/api/runs/open/events") for _ in range(5)]
        for stream in streams:
            next(stream.__enter__().iter_raw())
        started = time.monotonic()
        server.process.send_signal(ended_by)
        server.process.wait(60)
        assert time.monotonic() - started < slowness()
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in server.log.read_text()
    assert "ERROR" not in server.log.read_text()


def serve(site: Path, *options: str) -> Result:
    """`unfrozen serve …`, in this process."""
    words = ["serve", "--no-open", "--site", str(site), *options]
    return CliRunner(env={"COLUMNS": "200"}).invoke(application(), words)


def test_a_port_in_use_is_one_sentence_and_an_exit_code(server: Server, small_site: Path) -> None:
    done = serve(small_site, "--port", str(server.port))
    assert done.exit_code == 4
    assert re.search(
        rf"port {server.port} is in use.*choose another port with --port N", done.stderr
    )
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    ("options", "token", "reason"),
    [
        (["--host", "0.0.0.0"], "a" * 32, "means every network: give the one address"),
        (["--port", "70000"], "a" * 32, "--port 70000 is out of bounds: give a number from 0"),
        (["--host", "no.such.host.invalid"], "a" * 32, "cannot serve on no.such.host.invalid"),
        ([], "secret", "UNFROZEN_TOKEN must be 32 to 128 lower-case hex digits; it has 6"),
    ],
)
def test_what_cannot_be_served_is_reported_in_one_sentence(
    small_site: Path,
    options: list[str],
    token: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNFROZEN_TOKEN", token)
    arguments = options if "--port" in options else [*options, "--port", str(free_port())]
    done = serve(small_site, *arguments)
    assert done.exit_code == 2
    assert reason in done.stderr
    assert token not in done.stderr


def test_serving_never_loads_torch() -> None:
    program = (
        "import gpu_runner.__main__, gpu_runner.serve.app, sys; sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(build.ROOT / "py")}
    assert (
        subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode
        == 0
    )

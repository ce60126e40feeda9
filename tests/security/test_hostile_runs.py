"""One bad run hurts nobody: a real server over a folder of them, and a good run among them."""

import json
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import Server
from security.hostile_runs import FAULTS, GOOD, LISTED, fill
from security.wire import ask
from slowness import slowness
from unfrozen.schema import Checked, check
from unfrozen.schema.files import ANSWER, RUN

pytestmark = pytest.mark.slow

SWIFT_SECONDS = 0.2  # of a typical answer; a machine that is busy with others may be late at times
LATE_SECONDS = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    site, runs = folder / "site", folder / "runs"
    site.mkdir()
    (site / "index.html").write_text("<!doctype html><title>public</title>")
    fill(runs)
    for name in ("started.json", "started.txt"):
        (runs / name).symlink_to("/dev/zero")
    running = Server(site, runs, folder / "server.log", options=("--allow-control",))
    running.start()
    yield running
    running.stop()


def listed(server: Server) -> dict[str, dict[str, Any]]:
    """Every run of the list by its id."""
    answer = ask(server, "/api/runs")
    assert answer is not None
    assert answer.status == 200, answer.body
    return {info["id"]: info for info in json.loads(answer.body)}


def test_what_cannot_be_read_is_listed_with_its_fault_after_all_others(server: Server) -> None:
    infos = listed(server)
    for name, (_, problem) in FAULTS.items():
        assert infos[name]["status"] == "unreadable", name
        assert problem in infos[name]["problem"], infos[name]["problem"]
    assert "is not followed" in infos["a linked folder"]["problem"]
    assert "not UTF-8" in infos["caf\\udce9"]["problem"]
    assert {"no run", "a file", "a pipe beside them"}.isdisjoint(infos)
    readable = [name for name, info in infos.items() if "problem" not in info]
    assert list(infos)[: len(readable)] == readable
    assert set(readable) == {GOOD, *LISTED}


def test_all_that_is_answered_has_the_shape_that_the_page_lets_in(server: Server) -> None:
    for name, info in listed(server).items():
        assert (check(RUN, info).problem, check(RUN, info).unknown) == ("", 0), name
    answer = ask(server, "/api/control")
    assert answer is not None
    told = json.loads(answer.body)
    assert told.pop("started") is None
    assert check(ANSWER, told) == Checked(told, "", 0)


def test_the_good_run_is_as_it_would_be_alone(server: Server) -> None:
    info = listed(server)[GOOD]
    told = (info["status"], info["model"], info["step"], info["steps"])
    assert told == ("finished", "demo", 7, 7)
    answer = ask(server, f"/api/runs/{GOOD}/events")
    assert answer is not None
    assert answer.body.count(b"data: ") == 2


@pytest.mark.parametrize("name", ["a pipe", "a linked log", "a folder", "a linked folder"])
def test_what_is_no_plain_file_is_neither_streamed_nor_told_anything(
    server: Server, name: str
) -> None:
    for verb, body in (("events", b""), ("control", b'{"command":"stop"}')):
        heads = ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
        method = "POST" if body else "GET"
        path = f"/api/runs/{name.replace(' ', '%20')}/{verb}"
        answer = ask(server, path, *heads, method=method, body=body)
        assert answer is not None
        assert answer.status == 404
    assert sorted(path.name for path in (server.runs / GOOD).iterdir()) == ["events.jsonl"]


def test_the_control_of_others_answers_beside_them(server: Server) -> None:
    answer = ask(server, "/api/control")
    assert answer is not None
    assert json.loads(answer.body)["started"] is None


def stream(server: Server, name: str) -> socket.socket:
    """An open stream of one run, of which nothing is read yet."""
    wire = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    path = f"/api/runs/{name.replace(' ', '%20')}/events"
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    wire.sendall("\r\n".join([*lines, f"Authorization: Bearer {server.token}", "", ""]).encode())
    return wire


def test_all_others_are_answered_while_huge_lines_are_passed_over(server: Server) -> None:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    names = ["a line of 1 GB"] * 3 + ["200 MB in one line"] * 3 + ["a million empty lines"] * 2
    wires = [stream(server, name) for name in names]
    times: dict[str, list[float]] = {"/": [], "/api/runs": [], "/api/runs/good/events": []}
    for _ in range(15):
        for path, taken in times.items():
            started = time.monotonic()
            answer = ask(server, path)
            taken.append(time.monotonic() - started)
            assert answer is not None
            assert answer.status == 200
    slow = slowness()
    for path, taken in times.items():
        assert statistics.median(taken) < SWIFT_SECONDS * slow, (path, taken)
        assert max(taken) < LATE_SECONDS * slow, (path, taken)
    assert process.memory_info().rss - before < 100 * 2**20
    received = b""
    while b"run.end" not in received:  # what stands behind 200 MB of damage arrives
        received += (piece := wires[3].recv(65536))
        assert piece
    assert b": skipped 1" in received
    for wire in wires:
        wire.close()


def test_nothing_of_it_reaches_the_terminal_or_changes_a_file(server: Server) -> None:
    said = server.log.read_bytes()
    assert b"Traceback" not in said
    assert b"\x1b" not in said
    assert not list(server.runs.glob("*/commands.json"))
    assert (server.runs / "started.json").is_symlink()


def test_the_server_ends_at_once_in_the_middle_of_a_line_of_1_gb(server: Server) -> None:
    wires = [stream(server, "a line of 1 GB") for _ in range(8)]
    for wire in wires:
        assert wire.recv(100)
    assert server.process is not None
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    assert time.monotonic() - started < LATE_SECONDS * slowness()
    for wire in wires:
        wire.close()
    assert "Traceback" not in Path(server.log).read_text()
    server.start()

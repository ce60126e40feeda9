"""What takes long keeps nobody else waiting: questions to a frozen model, outlines of long logs."""

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from conftest import Server, quick
from gpu_runner.log.writer import EventLog, SystemClock
from run_process import below
from security.wire import ask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux"),
]

ABANDONED = 75
OUTLINES = 60
STEPS = 20_000
ASK, LIST, OUTLINE = "/api/runs/ended/ask", "/api/runs?after=", "/api/runs/long/outline"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a run that ended, of one that trains, and of one with a long log."""
    folder = tmp_path_factory.mktemp("busy")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("<!doctype html><title>public</title>")
    runs = folder / "runs"
    for name in ("ended", "long"):
        with EventLog(runs / name / "events.jsonl", run=name, clock=SystemClock()) as log:
            log.emit("run.start", 0, model={"name": "m"}, plan={"steps": STEPS})
            for step in range(STEPS if name == "long" else 0):
                log.emit("metrics", step, m={"train/loss": 1.0})
            log.emit("run.end", STEPS, status="finished")
    (runs / "ended" / "config.json").write_text("{}")
    with EventLog(runs / "live" / "events.jsonl", run="live", clock=SystemClock()) as log:
        log.emit("run.start", 0, model={"name": "m"})
        log.emit("beat", 0, expect_next_in=1000.0)
        one = Server(folder / "site", runs, folder / "server.log", options=("--allow-control",))
        with quick(one) as other:
            yield other


def begin(server: Server, target: str, body: bytes = b"") -> socket.socket:
    """A request that is sent, whose answer is not read yet."""
    lines = [f"{'POST' if body else 'GET'} {target} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    lines += [f"Authorization: Bearer {server.token}", "Connection: close"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    wire = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    wire.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return wire


def answer(wire: socket.socket) -> tuple[int, bytes]:
    """The status and the body of what comes."""
    received = b""
    with wire:
        while piece := wire.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def asked(number: int) -> bytes:
    return json.dumps({"prompt": f"{number}?"}).encode()


def wait_until(happened: Callable[[], bool]) -> None:
    """Look again and again, for a minute."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def served(server: Server) -> None:
    """Whatever else there is, is answered."""
    for target in (LIST, "/api/runs", "/api/control", "/api/setup", OUTLINE, "/"):
        assert (got := ask(server, target)) is not None
        assert got.status == 200, target
    body = b'{"command": "stop"}'
    status, _ = answer(begin(server, "/api/runs/live/control", body))
    assert status == 202


def test_questions_that_nobody_waits_for_keep_nothing_from_its_answer(server: Server) -> None:
    first = begin(server, ASK, asked(0))
    wait_until(lambda: bool(below("ask")))
    (model,) = below("ask")
    model.send_signal(signal.SIGSTOP)  # it is busy, for as long as we like
    try:
        for number in range(ABANDONED):
            begin(server, ASK, asked(number)).close()
        served(server)
        wait_until(lambda: one_waits(server))
    finally:
        model.kill()
    status, reason = answer(first)
    assert status == 422
    assert b"error" in reason


def one_waits(server: Server) -> bool:
    """Whether a question that is asked now waits, and a further one is refused in words."""
    with begin(server, ASK, asked(1)) as waiting:
        if select.select([waiting], [], [], 1)[0]:
            assert answer(waiting)[0] == 429  # those who left are not forgotten yet
            return False
        status, reason = answer(begin(server, ASK, asked(2)))
    assert status == 429
    assert b"a question of run ended waits already" in reason
    return True


def test_a_log_is_outlined_once_however_often_it_is_asked_for(server: Server) -> None:
    size = (server.runs / "long" / "events.jsonl").stat().st_size
    os.utime(server.runs / "long" / "events.jsonl")  # not as it was when it was last read
    (serving,) = (p for p in psutil.Process().children(recursive=True) if listens(p, server.port))
    before = serving.io_counters().read_chars
    wires = [begin(server, OUTLINE) for _ in range(OUTLINES)]
    served(server)
    answers = [answer(wire) for wire in wires]
    assert {status for status, _ in answers} == {200}
    assert len({body for _, body in answers}) == 1
    assert serving.io_counters().read_chars - before < 4 * size


def listens(process: psutil.Process, port: int) -> bool:
    return any(c.laddr[1] == port and c.status == "LISTEN" for c in process.net_connections())

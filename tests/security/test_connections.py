"""Connections that never become requests: they shut nobody out, and end by themselves."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Server, quick
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.serve.connections import BODY_SECONDS, HEAD_SECONDS, STRANGERS
from gpu_runner.serve.stream import MAX_STREAMS
from security.wire import ask
from slowness import slowness

pytestmark = pytest.mark.slow

KEPT_SECONDS = 0.02  # of an answer on a kept connection; with Nagle's algorithm it takes 0.04


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("connections")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("<!doctype html><title>public</title>")
    options = ("--allow-control",)
    running = Server(folder / "site", folder / "runs", folder / "server.log", options=options)
    with EventLog(folder / "runs" / "one" / "events.jsonl", run="one", clock=SystemClock()) as log:
        log.emit("run.start", 0)
        log.emit("beat", 0, expect_next_in=1000.0)
        running.start()
        yield running
        running.stop()


def knock(server: Server, *lines: str, body: bytes = b"") -> socket.socket:
    """A connection on which these lines were sent; without any, nothing was."""
    wire = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    if lines:
        wire.sendall("\r\n".join(lines).encode() + body)
    return wire


def head(server: Server, target: str, *more: str, method: str = "GET") -> tuple[str, ...]:
    """The lines of a request with the token, to its end."""
    own = (f"Host: 127.0.0.1:{server.port}", f"Authorization: Bearer {server.token}")
    return (f"{method} {target} HTTP/1.1", *own, *more, "", "")


def closed(wire: socket.socket) -> bool:
    """Wait for the end of a connection."""
    try:
        while wire.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("said", ["nothing", "half a head", "a body that does not come"])
def test_any_number_of_waiting_connections_keeps_no_holder_of_the_token_out(
    server: Server, said: str
) -> None:
    half = {
        "nothing": (),
        "half a head": ("GET / HTTP/1.1", "Host: 127"),
        "a body that does not come": head(server, "/", "Content-Length: 9", method="POST"),
    }[said]
    wires = [knock(server, *half) for _ in range(128)]
    for _ in range(21):
        answer = ask(server, "/api/runs")
        assert answer is not None
        assert answer.status == 200
    for wire in wires:
        wire.close()


FLOOD = """
import socket, sys, time
port, rate, seconds = map(int, sys.argv[1:])
start, opened, count = time.time(), [], 0
while time.time() < start + seconds:
    time.sleep(max(0, start + count / rate - time.time()))
    wire = socket.socket()
    wire.setblocking(False)
    wire.connect_ex(("127.0.0.1", port))
    opened.append(wire)
    count += 1
    if len(opened) > 200:
        opened.pop(0).close()
"""


def test_the_owner_is_answered_under_thousands_of_connections_a_second(server: Server) -> None:
    command = [sys.executable, "-c", FLOOD, str(server.port), "1200", "120"]
    floods = [subprocess.Popen(command) for _ in range(3)]
    time.sleep(0.5)
    answers = [ask(server, "/api/runs") for _ in range(2)]
    assert not [flood for flood in floods if flood.poll() is not None]
    for flood in floods:
        flood.kill()
        flood.wait()
    assert {answer and answer.status for answer in answers} == {200}


def test_an_open_stream_stays_while_strangers_come(server: Server) -> None:
    stream = knock(server, *head(server, "/api/runs/one/events"))
    assert b"200 OK" in stream.recv(4096)
    wires = [knock(server) for _ in range(2 * STRANGERS)]
    assert stream.recv(4096), "the stream was cut"
    for wire in (stream, *wires):
        wire.close()


def drip(server: Server) -> None:
    """A head that comes a byte at a time, for ever."""
    with knock(server, "GET / HTTP/1.1") as wire:
        for _ in range(60):
            wire.sendall(b"x")
            time.sleep(0.1)


def test_a_request_that_does_not_come_to_its_end_is_not_waited_for(server: Server) -> None:
    with quick(server) as other:
        heads = head(other, "/api/runs/one/ask", "Content-Type: application/json", method="POST")
        long = (*heads[:-2], "Content-Length: 500", "", "")
        wires = [knock(other), knock(other, "GET / HTTP/1.1", "Host: 1"), knock(other, *long)]
        started = time.monotonic()
        with pytest.raises(OSError, match=r"pipe|reset"):
            drip(other)
        for wire in wires:
            assert closed(wire)
            wire.close()
        assert time.monotonic() - started < 4 + 3 * slowness()
    assert (HEAD_SECONDS, BODY_SECONDS) == (5, 5)


def test_a_refused_connection_is_closed(server: Server) -> None:
    for lines in (
        ("GET /api/runs HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "", ""),
        ("GET / HTTP/1.1", "Host: evil.example", "", ""),
        head(server, "/", "Sec-Fetch-Site: cross-site"),
    ):
        with knock(server, *lines) as wire:
            started = time.monotonic()
            assert closed(wire)
            assert time.monotonic() - started < 2 * slowness()


def test_a_short_answer_on_a_kept_connection_does_not_wait_for_an_acknowledgement(
    server: Server,
) -> None:
    taken = []
    with knock(server) as wire:
        for _ in range(25):
            started = time.monotonic()
            wire.sendall("\r\n".join(head(server, "/")).encode())
            received = b""
            while not received.endswith(b"</title>"):
                received += wire.recv(4096)
            taken.append(time.monotonic() - started)
    assert min(taken[-10:]) < KEPT_SECONDS


CHUNKED = ("Transfer-Encoding: chunked", "Content-Type: application/json")
BROKEN = [b"5\r\nabc", b"zz\r\n", b"-1\r\n\r\n", b"5\r\nabcdefgh\r\n", b"\xff\xff\r\n", b"0\r\n"]


def test_broken_chunks_and_floods_leave_a_few_lines_and_no_traceback(server: Server) -> None:
    before = server.log.read_text().count("\n")
    for target in ("/", "/api/runs/one/ask", "/api/runs/one/control"):
        for method in ("GET", "POST"):
            for body in BROKEN * 3:
                with knock(server, *head(server, target, *CHUNKED, method=method), body=body) as w:
                    w.shutdown(socket.SHUT_WR)
                    assert closed(w)
    for _ in range(50):
        with knock(server, "no request at all", "", "") as wire:
            assert closed(wire)
    said = server.log.read_text()
    assert "Traceback" not in said
    assert said.count("\n") - before < 20


def test_streams_that_come_at_once_are_as_many_as_there_may_be(server: Server) -> None:
    wires = [knock(server, *head(server, "/api/runs/one/events")) for _ in range(2 * MAX_STREAMS)]
    first = [wire.recv(65536).split(b"\r\n")[0] for wire in wires]
    assert first.count(b"HTTP/1.1 200 OK") == MAX_STREAMS
    assert first.count(b"HTTP/1.1 503 Service Unavailable") == MAX_STREAMS
    for wire in wires:
        wire.close()
    for _ in range(2 * MAX_STREAMS):  # a question for the head takes nobody's place
        answer = ask(server, "/api/runs/one/events", method="HEAD")
        assert answer is not None
        assert answer.status == 200
    while True:  # until a place comes free
        with knock(server, *head(server, "/api/runs/one/events")) as wire:
            if b"200 OK" in wire.recv(4096):
                break
    assert "Traceback" not in Path(server.log).read_text()

"""Clients that do not read: each is a file offset to the server, never a growing buffer."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import Server
from slowness import slowness

pytestmark = pytest.mark.slow

EVENTS = 300_000
CLIENTS = 8
ROOM_BYTES = 24 * 2**20  # for all clients together; the log is about 60 MB


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    site, run = tmp_path / "site", tmp_path / "runs" / "long"
    site.mkdir()
    run.mkdir(parents=True)
    (site / "index.html").write_text("<!doctype html><title>x</title>")
    envelope = {"v": 1, "run": "long", "att": 0, "t": 1.0, "rt": 1.0, "kind": "metrics"}
    event = {**envelope, "seq": "%d", "step": "%d", "m": {"train/loss": 2.5, "opt/lr": 1e-5}}
    line = json.dumps(event).replace('"%d"', "%d") + "\n"
    with (run / "events.jsonl").open("w") as file:
        file.writelines(line % (seq, seq) for seq in range(EVENTS))
    running = Server(site=site, runs=tmp_path / "runs", log=tmp_path / "server.log")
    running.start()
    yield running
    running.stop()


def open_stream(server: Server) -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    lines = ["GET /api/runs/long/events HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    lines += [f"Authorization: Bearer {server.token}", "", ""]
    wire.sendall("\r\n".join(lines).encode())
    return wire


def test_a_long_log_and_eight_clients_that_stop_reading_cost_neither_memory_nor_a_clean_end(
    server: Server,
) -> None:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    wires = [open_stream(server) for _ in range(CLIENTS)]
    for wire in wires:
        assert wire.recv(1000).startswith(b"HTTP/1.1 200")
    time.sleep(1.5)
    assert process.memory_info().rss - before < ROOM_BYTES
    with open_stream(server) as quick:  # the others do not hold up one that reads
        received = 0
        while received < 10 * 2**20:
            received += len(quick.recv(2**20))
    assert process.memory_info().rss - before < ROOM_BYTES
    for wire in wires[:4]:
        wire.close()
    started = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    server.process.wait()
    assert time.monotonic() - started < 1.5 * slowness()
    assert "Traceback" not in server.log.read_text()
    for wire in wires:
        wire.close()

"""Thousands of requests, settings files and state files that nobody would send, from a seed.

Of none of them comes an answer of 5xx, a traceback in the server's log, a run that is started, or
a change of any file.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import Server
from gpu_runner.checkpoint import training_state
from gpu_runner.config.load import load_record, parse_toml, resolve
from gpu_runner.errors import RunnerError
from gpu_runner.log.commands import CommandReader
from gpu_runner.log.questions import ASKED
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.serve import control
from gpu_runner.serve.launch import STATE
from security.damage import TEXTUAL, damaged, torn
from security.wire import ask, assert_refused

pytestmark = pytest.mark.slow

REQUESTS = 5000
FILES = 250  # of each of four kinds, and as many settings files again
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "OPTIONS", "TRACE", "get", "PRI")
TARGETS = (
    *("/", "/index.html", "/none", "/api", "/api/", "/api/runs", "/api/control"),
    *("/api/runs/one/ask", "/api/runs/one/control", "/api/runs/one/events?after=7", "/a?b=%ff"),
    *(
        "/api/runs?after=x.1",
        "/api/runs/%2e%2e/events",
        "/api/runs/one%00/events",
        "//",
        "/%",
        "/api/runs/\u00e9/events",
    ),
)
HEADS = (
    *("Content-Type: application/json", "Content-Type: text/plain", "Content-Length: 5"),
    *("Content-Length: 99999999999", "Content-Length: -1", "Transfer-Encoding: chunked"),
    *("Transfer-Encoding: gzip, chunked", "Expect: 100-continue", "Upgrade: websocket"),
    *("Connection: Upgrade", "Upgrade: h2c", "Range: bytes=0-1", "Last-Event-ID: 3", "TE: x"),
    *("Accept-Encoding: gzip;q=0, *;q=nan", "If-None-Match: *", "If-None-Match: \x01", "X: \xff"),
    *("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site", "Origin: null", "Cookie: a=b"),
    *("Authorization: Basic x", "Host: evil.example", "Host: 127.0.0.1", "X-Forwarded-For: 1"),
)
BODIES: tuple[dict[str, Any], ...] = (
    {"command": "xyzzy"},
    {"prompt": "", "tokens": 5, "temperature": 0.5, "seed": 1},
)
SETTINGS = 'model = "demo"\nsteps = 40\n[rates]\nlr = 1e-3\n[general]\nsums = "sums.jsonl"\n'
LAUNCHED = {"name": "one", "verb": "resume", "run": "one", "logged": 0}
STARTED = LAUNCHED | {"pid": os.getpid(), "born": 1.0, "at": 1.0}
ORDERS = {"v": 1, "run": "one", "att": 0, "seq": 9, "paused": False, "save": 0, "stop": False}
ORDERS |= {"look": 0, "ask": 0}
CONFIG = {"model": "demo", "data": "demo", "steps": 40, "lr": 1e-3, "general": [["a", "b.jsonl"]]}
CHECKPOINT = {
    "state": {"step": 2, "tokens": 9, "skipped": 0, "skipped_in_a_row": 0},
    "history": {"first": {"task": 2.5}, "samples": [["a", "b", "c"]], "best_loss": None},
    "version": 1,
    "origins": {
        **{"model": "0" * 64, "data": "0" * 64, "suites": {"task": "0" * 64}},
        **{"choices": {"lr": 1e-3}, "computed": {"torch": "2.13"}},
        "sets": {"--data a.jsonl": {"sha256": "0" * 64, "weight": 1.0}},
    },
    "task_loss": 2.5,
    "healthy": True,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("<!doctype html><title>public</title>")
    options = ("--allow-control",)
    running = Server(folder / "site", folder / "runs", folder / "server.log", options=options)
    with EventLog(folder / "runs" / "one" / "events.jsonl", run="one", clock=SystemClock()) as log:
        log.emit("run.start", 0)
        log.emit("run.end", 1, status="finished")
        running.start()
        yield running
        running.stop()


def digest(folder: Path) -> str:
    """What lies below a folder, in one word."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(f"{path.relative_to(folder)} {path.lstat().st_mode}\n".encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def text(value: object, random_: random.Random) -> bytes:
    """A damaged value as bytes, some of them damaged once more."""
    written = json.dumps(value, ensure_ascii=random_.random() < 0.5)
    if random_.random() < 0.4:
        written = torn(written, random_)
    return written.encode("utf-8", "surrogatepass")


def refused(work: Callable[[], object]) -> str:
    """Why something was refused; "" if it was not. Any other error is one of ours."""
    try:
        work()
    except (RunnerError, ValueError, TypeError) as error:
        return str(error) or "without a word"
    return ""


def test_no_request_is_answered_with_5xx_or_changes_anything(server: Server, share: int) -> None:
    random_, before = random.Random(11), digest(server.runs)
    for count in range(REQUESTS // share):
        target = random_.choice(TARGETS)
        if random_.random() < 0.3:
            target = torn(target, random_).replace("\ud800", "") or "/"
        data = text(damaged(random_.choice(BODIES), random_), random_)
        heads = random_.sample(HEADS, random_.randint(0, 4))
        if random_.random() < 0.4:
            heads += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        ours = random_.choice(["ours", "ours", "ours", None, "0" * 32])
        target = target.encode("utf-8").decode("latin-1")
        answer = ask(server, target, *heads, method=random_.choice(METHODS), token=ours, body=data)
        assert answer is None or answer.status < 500, (count, target, heads, data)
    assert digest(server.runs) == before
    assert "Traceback" not in server.log.read_text()


def test_a_body_is_what_it_must_be_or_refused_in_words(share: int) -> None:
    random_ = random.Random(12)
    texts = [line.encode("utf-8", "surrogatepass") for line in TEXTUAL]
    texts += [
        text(damaged(good, random_), random_) for good in BODIES for _ in range(1500 // share)
    ]
    texts += [b"\xef\xbb\xbf" + json.dumps(BODIES[0]).encode()]
    texts += [json.dumps(BODIES[0]).encode(code) for code in ("utf-16", "utf-32", "utf-16-le")]
    for data in texts:
        for shape in (control.COMMAND, ASKED):
            found: dict[str, Any] = {}
            said = refused(
                lambda s=shape, d=data, into=found: into.update(control.parse_body(s, d))
            )
            assert len(said.splitlines()) == (not found)
            assert not found or found.keys() <= shape["properties"].keys()
            json.dumps([found, said], ensure_ascii=False).encode("utf-8")


TOML = (
    *("lr = nan", "steps = inf", "steps = 1e400", f"steps = {'9' * 400}", f"lr = {'9' * 5000}"),
    *(f"steps = 0x{'f' * 50_000}", "lr = 1e-999", "steps = true", "steps = 2026-11-26"),
    *(
        "a." * 20_000 + "b = 1",
        '"a b".' * 9000 + "b = 1",
        "x = {" + "a . " * 9000 + "b = 1}",
        "[" + "a." * 20_000 + "b]",
        "x = " + "[" * 5000,
        "x = " + "[" * 500 + "]" * 500,
    ),
    *("[a" + ".a" * 900 + "]\nlr = 1", "[[lr]]\n" * 2000, f"{'k' * 60_000} = 1", '"" = 1'),
    *(
        '"\\u001b[31m" = 1',
        'out = "\\u0000"',
        'out = "' + "x" * 5000 + '"',
        'data = "~no such user/x"',
    ),
    *("general = {a = {a = 1}}", "general = 5", 'sample_prompts = [["a"]]', "lr = 1e-3 \r\r"),
)


def test_a_settings_file_of_any_kind_is_refused_in_words(share: int) -> None:
    random_ = random.Random(13)
    for line in TOML:
        hostile = f'model = "demo"\n{line}\n'.encode()
        assert refused(lambda text=hostile: resolve(parse_toml(text, "it"))), line[:80]
    torn_ones = [torn(torn(SETTINGS, random_), random_) for _ in range(FILES // share)]
    for data in (*(one.encode("utf-8", "surrogatepass") for one in torn_ones), bytes(range(256))):
        said = refused(lambda text=data: resolve(parse_toml(text, "it")))
        assert "\x1b" not in said


def test_state_files_of_any_kind_are_obeyed_by_nobody(
    server: Server, tmp_path: Path, share: int
) -> None:
    random_, run = random.Random(14), server.runs / "one"
    for count in range(FILES // share):
        (server.runs / STATE).write_bytes(text(damaged(STARTED, random_), random_))
        (run / "commands.json").write_bytes(text(damaged(ORDERS, random_) | {"v": 2}, random_))
        (run / "config.json").write_bytes(text(damaged(CONFIG, random_), random_))
        for path in ("/api/control", "/api/runs") if count % 5 == 0 else ("/api/control",):
            answer = ask(server, path)
            assert answer is not None
            assert answer.status == 200, (count, path, answer.body)
        assert CommandReader(run, "one", 0).read().seq == 0
        refused(lambda: load_record((run / "config.json").read_bytes(), "it"))
        (tmp_path / "state.json").write_bytes(text(damaged(CHECKPOINT, random_), random_))
        refused(lambda: training_state.parse_state(tmp_path, training_state.read_state(tmp_path)))
    assert "Traceback" not in server.log.read_text()
    for path in (server.runs / STATE, run / "commands.json", run / "config.json"):
        path.unlink()


def test_nothing_is_ended_but_what_was_started(server: Server) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        born = psutil.Process(other.pid).create_time()
        for pid in (other.pid, os.getpid(), os.getppid(), 1, server.process.pid):  # type: ignore[union-attr]
            birth = psutil.Process(pid).create_time()
            state = LAUNCHED | {"pid": pid, "born": birth, "at": time.time()}
            (server.runs / STATE).write_text(json.dumps(state))
            data = b'{"command":"cancel"}'
            heads = ("Content-Type: application/json", f"Content-Length: {len(data)}")
            answer = ask(server, "/api/runs/one/control", *heads, method="POST", body=data)
            assert_refused(answer)
            assert answer is not None
            assert b"has ended by itself" in answer.body
            time.sleep(0.2)
            assert psutil.Process(pid).create_time() == birth
        assert psutil.Process(other.pid).create_time() == born
        assert other.poll() is None
        other.kill()
    (server.runs / STATE).unlink()

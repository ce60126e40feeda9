"""Every route that changes something × every way to knock wrongly: nothing happens, nothing leaks.

Beside the rules of the door, control has its own: a POST with a short JSON body, known keys of
known types within bounds, ids and names that exist, and a server that was started to allow it.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Server, matrix, quick
from gpu_runner.log.commands import NAME
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.serve.guard import MAX_BODY_BYTES
from security.test_door import RUN_CLIMBS
from security.wire import SECRET, Answer, ask, assert_refused

pytestmark = pytest.mark.slow

COMMAND, ASK = "/api/runs/one/control", "/api/runs/one/ask"
ROUTES: dict[str, dict[str, Any]] = {
    COMMAND: {"command": "pause"},
    ASK: {"prompt": "Who?"},
}


def serving(folder: Path, *options: str) -> Iterator[Server]:
    """A server over one living run, whose log this process holds open."""
    (folder / "site").mkdir()
    (folder / "site" / "index.html").write_text("<!doctype html><title>public</title>")
    server = Server(folder / "site", folder / "runs", folder / "server.log", options=options)
    with EventLog(folder / "runs" / "one" / "events.jsonl", run="one", clock=SystemClock()) as log:
        log.emit("run.start", 0, model={"name": SECRET})
        log.emit("beat", 0, expect_next_in=1000.0)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from serving(tmp_path_factory.mktemp("control"), "--allow-control")


@pytest.fixture(scope="module")
def server(strict: Server) -> Iterator[Server]:
    """The same, which takes any number of commands a second."""
    with quick(strict) as other:
        yield other


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same server, not started to be controlled."""
    yield from serving(tmp_path_factory.mktemp("closed"))


@pytest.fixture(autouse=True)
def _nothing_happens(server: Server, request: pytest.FixtureRequest) -> Iterator[None]:
    """No wrong request leaves a trace in the folder of runs; a right one is taken back."""
    yield
    orders = server.runs / "one" / NAME
    if request.function in (
        test_the_right_request_puts_one_order_into_the_mailbox,
        test_commands_that_come_too_fast_are_counted_and_refused,
    ):
        orders.unlink(missing_ok=True)
    assert sorted(path.name for path in server.runs.glob("[!.]*")) == ["one"]
    assert [path.name for path in (server.runs / "one").iterdir()] == ["events.jsonl"]


def tell(
    server: Server,
    route: str,
    body: object,
    *more: str,
    kind: str | None = "application/json",
    **wrong: Any,
) -> Answer | None:
    """A command."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    heads = [f"Content-Length: {len(data)}"] if "length" not in wrong else wrong.pop("length")
    heads += [f"Content-Type: {kind}"] if kind is not None else []
    return ask(server, route, *heads, *more, body=data, **{"method": "POST", **wrong})


def reason(answer: Answer | None, status: int) -> str:
    """Why it was refused, with that status and our headers."""
    assert_refused(answer)
    assert answer is not None
    assert answer.status == status, answer.body
    return answer.body.decode()


def test_the_right_request_puts_one_order_into_the_mailbox(server: Server) -> None:
    answer = tell(server, COMMAND, {"command": "pause"}, "Sec-Fetch-Site: same-origin")
    assert answer is not None
    assert answer.status == 202
    orders = json.loads((server.runs / "one" / NAME).read_text())
    assert orders["seq"] == json.loads(answer.body)["seq"]
    assert (orders["run"], orders["att"], orders["paused"]) == ("one", 0, True)


@pytest.mark.parametrize("route", ROUTES)
def test_a_server_that_was_not_told_to_allow_it_says_how_to_turn_it_on(
    closed: Server, route: str
) -> None:
    assert "--allow-control" in reason(tell(closed, route, ROUTES[route]), 403)
    assert not (closed.runs / "one" / NAME).exists()
    answer = ask(closed, "/api/control")
    assert answer is not None
    assert json.loads(answer.body) == {"allowed": False}


WRONG: dict[str, Callable[[Server], tuple[int, dict[str, Any]]]] = {
    "no token": lambda _: (401, {"token": None}),
    "a bad token": lambda _: (401, {"token": "0" * 32}),
    "a token that is longer": lambda s: (401, {"token": f"{s.token}0"}),
    "a foreign Host": lambda s: (403, {"host": f"evil.example:{s.port}"}),
    "a Host with another port": lambda s: (403, {"host": f"127.0.0.1:{s.port + 1}"}),
    "a Host in upper case": lambda s: (403, {"host": f"LOCALHOST:{s.port}"}),
    "an empty Host": lambda _: (403, {"host": ""}),
    "GET with a body": lambda _: (413, {"method": "GET"}),
    "PUT": lambda _: (405, {"method": "PUT"}),
    "DELETE": lambda _: (405, {"method": "DELETE"}),
    "PATCH": lambda _: (405, {"method": "PATCH"}),
    "OPTIONS": lambda _: (405, {"method": "OPTIONS"}),
    "a verb of small letters": lambda _: (405, {"method": "post"}),
    "no content type": lambda _: (415, {"kind": None}),
    "a form": lambda _: (415, {"kind": "application/x-www-form-urlencoded"}),
    "a form with files": lambda _: (415, {"kind": "multipart/form-data; boundary=a"}),
    "plain text": lambda _: (415, {"kind": "text/plain"}),
    "JSON under another name": lambda _: (415, {"kind": "text/json"}),
    "JSON in another alphabet": lambda _: (415, {"kind": "application/json; charset=utf-16"}),
    "two content types": lambda _: (415, {"kind": "text/plain\r\nContent-Type: application/json"}),
    "no length": lambda _: (411, {"length": ["Transfer-Encoding: chunked"]}),
    "a length too large": lambda _: (413, {"length": [f"Content-Length: {MAX_BODY_BYTES + 1}"]}),
    "a length beyond all": lambda _: (413, {"length": [f"Content-Length: {10**15}"]}),
}
WRONG_HEADERS = {
    "another site": ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
    "another port of this machine": ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"],
    "no site at all": ["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"],
    "a foreign origin": ["Origin: https://evil.example"],
    "another port's origin": ["Origin: http://127.0.0.1:1"],
    "an origin without a name": ["Origin: null"],
    "two origins": ["Origin: http://localhost:1", "Origin: https://evil.example"],
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused_before_it_is_read(
    server: Server, route: str, name: str
) -> None:
    status, wrong = WRONG[name](server)
    reason(tell(server, route, ROUTES[route], **wrong), status)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_a_wrong_asker_is_refused(server: Server, route: str, name: str) -> None:
    reason(tell(server, route, ROUTES[route], *WRONG_HEADERS[name]), 403)


@pytest.mark.parametrize("route", matrix(ROUTES, ASK))
def test_a_body_that_is_larger_than_it_says_or_never_comes_does_nothing(
    server: Server, route: str
) -> None:
    body = json.dumps(ROUTES[route]).encode().ljust(9)
    cut = tell(server, route, body, length=["Content-Length: 5"])
    assert cut is None or 400 <= cut.status < 500
    assert_refused(tell(server, route, body, length=[f"Content-Length: {len(body) + 9}"]))


@pytest.mark.parametrize("route", ["/", "/api/runs", "/api/control", "/none"])
def test_no_other_route_takes_a_post(server: Server, route: str) -> None:
    reason(tell(server, route, {}), 405)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"3", b'"pause"', b"{}{}", b"\xff\xfe", b"[" * 60_000),
        *(b'{"command":"pause"', b'{"command":NaN}', b'{"prompt":"a","temperature":NaN}'),
        *(b'{"prompt":"a","temperature":Infinity}', b'{"command":"pause","command":"stop"}'),
        *(b'{"prompt":"a","seed":1,"seed":2}', b'{"prompt":"a","temperature":1e999}'),
    ],
    ids=str,
)
def test_what_is_no_object_of_finite_numbers_is_refused(
    server: Server, route: str, body: bytes
) -> None:
    reason(tell(server, route, body), 400)


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"command": "pause", "path": "/etc"}, {"Command": "pause"}, {"command": None}),
        *({"command": ["pause"]}, {"command": 1}, {"command": {"pause": True}}),
    ],
)
def test_a_command_has_one_known_key_and_is_text(server: Server, body: Any) -> None:
    reason(tell(server, COMMAND, body), 400)


def test_only_what_was_launched_is_cancelled(server: Server) -> None:
    assert "was not launched last" in reason(tell(server, COMMAND, {"command": "cancel"}), 409)
    reason(tell(server, COMMAND, {"command": "cancel", "pid": 1}), 400)


@pytest.mark.parametrize("command", ["", "PAUSE", "pause ", "kill", "__import__('os')", "../stop"])
def test_a_command_is_one_of_four(server: Server, command: str) -> None:
    said = reason(tell(server, COMMAND, {"command": command}), 404)
    assert "there are pause, resume, checkpoint, evaluate, stop" in said


@pytest.mark.parametrize("name", [*RUN_CLIMBS, "none", "commands.json", "%2e%2e%2fsecret"])
def test_no_run_id_reaches_another_folder(server: Server, name: str) -> None:
    assert_refused(tell(server, f"/api/runs/{name}/control", {"command": "stop"}))


def test_commands_that_come_too_fast_are_counted_and_refused(strict: Server) -> None:
    body = json.dumps({"command": "pause"}).encode()
    heads = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    found = [ask(strict, COMMAND, *heads, method="POST", body=body) for _ in range(60)]
    refused = [answer for answer in found if answer is not None and answer.status == 429]
    assert len(refused) > 10
    assert refused[0].headers["retry-after"] == "1"
    assert "too many commands" in strict.log.read_text()
    assert ask(strict, "/api/runs").status == 200  # type: ignore[union-attr]  # looking goes on


def test_the_server_runs_and_has_printed_what_it_allows(strict: Server) -> None:
    said = strict.log.read_text()
    assert "Control is on: anyone with the address below can pause, save, stop and" in said
    assert "Traceback" not in said

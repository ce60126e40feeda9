"""Every route × every way to ask wrongly, against a real server over raw sockets.

Nothing is normalised on the way: what a test writes is what arrives. A request that breaks a rule
must not get 200, must not show a byte of a run, and must still carry the security headers.
"""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from conftest import Server
from gpu_runner.log.writer import EventLog, SystemClock
from security.wire import SECRET, ask, assert_refused

pytestmark = pytest.mark.slow

ROUTES = (
    *("/", "/index.html", "/api/runs", "/api/runs/one/events", "/api/runs/none/events", "/none"),
    *("/api/runs/one/outline", "/api/runs/none/outline"),
    *("/api/control", "/api/runs/one/control", "/api/runs/one/ask"),  # see also test_control
)
PRIVATE = tuple(route for route in ROUTES if route.startswith("/api"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("door")
    site, runs = folder / "site", folder / "runs"
    (site / "sub").mkdir(parents=True)
    (site / "index.html").write_text("<!doctype html><title>public</title>")
    (site / ".hidden").write_text(SECRET)
    (folder / "secret.txt").write_text(SECRET)
    (site / "link.txt").symlink_to(folder / "secret.txt")
    (site / "sub" / "up").symlink_to(folder, target_is_directory=True)
    with EventLog(runs / "one" / "events.jsonl", run="one", clock=SystemClock()) as log:
        log.emit("run.start", 0, model={"name": SECRET})
        log.emit("run.end", 1, status="finished")
    with EventLog(folder / "outside" / "events.jsonl", run="two", clock=SystemClock()) as log:
        log.emit("run.end", 1, status="finished", reason=SECRET)
    (runs / "linked").symlink_to(folder / "outside", target_is_directory=True)
    running = Server(site=site, runs=runs, log=folder / "server.log")
    running.start()
    yield running
    running.stop()


def test_the_right_request_gets_the_run(server: Server) -> None:
    answer = ask(server, "/api/runs/one/events")
    assert answer is not None
    assert answer.status == 200
    assert SECRET.encode() in answer.body
    assert ask(server, "/", token=None) is not None


WRONG: dict[str, Callable[[Server], dict[str, str | None]]] = {
    "no Host": lambda _: {"host": None},
    "empty Host": lambda _: {"host": ""},
    "foreign Host": lambda s: {"host": f"evil.example:{s.port}"},
    "Host in upper case": lambda s: {"host": f"LOCALHOST:{s.port}"},
    "Host with a trailing dot": lambda s: {"host": f"localhost.:{s.port}"},
    "Host with another port": lambda s: {"host": f"127.0.0.1:{s.port + 1}"},
    "Host without a port": lambda _: {"host": "127.0.0.1"},
    "Host of every network": lambda s: {"host": f"0.0.0.0:{s.port}"},
    "Host with a user": lambda s: {"host": f"evil@127.0.0.1:{s.port}"},
    "POST": lambda _: {"method": "POST"},
    "PUT": lambda _: {"method": "PUT"},
    "DELETE": lambda _: {"method": "DELETE"},
    "PATCH": lambda _: {"method": "PATCH"},
    "OPTIONS": lambda _: {"method": "OPTIONS"},
    "TRACE": lambda _: {"method": "TRACE"},
    "an invented method": lambda _: {"method": "BREW"},
}
WRONG_HEADERS = {
    "another site": ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"],
    "a link from another site": ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"],
    "another port of this machine": ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"],
    "a foreign origin": ["Origin: https://evil.example"],
    "another port's origin": ["Origin: http://127.0.0.1:1"],
    "an origin without a name": ["Origin: null"],
    "a preflight": ["Origin: https://evil.example", "Access-Control-Request-Method: GET"],
    "a body": ["Content-Length: 5"],
    "a chunked body": ["Transfer-Encoding: chunked"],
    "seventy headers": [f"X-{n}: 1" for n in range(70)],
    "twenty kilobytes of headers": [f"Cookie: {'a' * 20_000}"],
    "a WebSocket": ["Connection: Upgrade", "Upgrade: websocket", "Sec-Fetch-Site: cross-site"],
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_line_is_refused_everywhere(server: Server, route: str, name: str) -> None:
    assert_refused(ask(server, route, **WRONG[name](server)), by_us=name != "no Host")  # type: ignore[arg-type]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_a_wrong_asker_is_refused_everywhere(server: Server, route: str, name: str) -> None:
    assert_refused(ask(server, route, *WRONG_HEADERS[name]))


@pytest.mark.parametrize("route", [*PRIVATE, "/api", "/api/", "/api/runs/", "/api/none"])
@pytest.mark.parametrize("token", [None, "", "0" * 32, "ours "])
def test_nothing_private_opens_without_the_token(
    server: Server, route: str, token: str | None
) -> None:
    given = f"{server.token}0" if token == "ours " else token
    answer = ask(server, route, token=given)
    assert_refused(answer)
    assert answer is not None
    assert answer.status == 401


def test_the_token_does_not_work_in_the_address_or_a_cookie(server: Server) -> None:
    for target in (f"/api/runs?t={server.token}", f"/api/runs?token={server.token}"):
        assert_refused(ask(server, target, token=None))
    assert_refused(ask(server, "/api/runs", f"Cookie: t={server.token}", token=None))


CLIMBS = [
    "/../secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/%252e%252e/secret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/....//secret.txt",
    "/..;/secret.txt",
    "/;/../secret.txt",
    "/sub/../../secret.txt",
    "//secret.txt",
    "/./../secret.txt",
    "/%00/../secret.txt",
    "/index.html%00.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/.hidden",
    "/%2ehidden",
    "/link.txt",
    "/sub/up/secret.txt",
    "/sub/up/runs/one/events.jsonl",
    "/..%u2216secret.txt",
]
RUN_CLIMBS = [
    "..",
    ".",
    "%2e%2e",
    "..%2foutside",
    "%2e%2e%2foutside",
    "..%252foutside",
    "..%5coutside",
    "linked",
    "one%00",
    "one;",
    "one/",
    "one%2f",
    "../outside",
    "one/../linked",
    "%6fne%20",
    "ONE",
    "*",
    "%ff",
    "~",
]


@pytest.mark.parametrize("target", CLIMBS)
def test_no_address_climbs_out_of_the_site(server: Server, target: str) -> None:
    assert_refused(ask(server, target, token=None))


@pytest.mark.parametrize("name", RUN_CLIMBS)
def test_no_run_id_reaches_a_file(server: Server, name: str) -> None:
    for what in ("events", "outline"):
        assert_refused(ask(server, f"/api/runs/{name}/{what}"))


@pytest.mark.parametrize(
    "target", ["/%61pi/runs", "/api%2fruns", "/api/%72uns", "//api/runs", "/API/runs"]
)
def test_another_spelling_of_a_private_address_opens_nothing(server: Server, target: str) -> None:
    assert_refused(ask(server, target, token=None))


@pytest.mark.parametrize(
    "target", ["http://evil.example/", "http://127.0.0.1/api/runs", "*", "evil:80"]
)
def test_addresses_in_other_forms_are_refused(server: Server, target: str) -> None:
    assert_refused(ask(server, target, token=None))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_no_page(server: Server, request_bytes: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as wire:
        wire.settimeout(3)
        wire.sendall(request_bytes)
        wire.shutdown(socket.SHUT_WR)
        try:
            received = wire.recv(65536)
        except (ConnectionResetError, TimeoutError):
            received = b""
    assert b" 200 " not in received.split(b"\r\n")[0]
    assert b"public" not in received


def test_the_server_is_still_well_and_tells_no_name(server: Server) -> None:
    answer = ask(server, "/", token=None)
    assert answer is not None
    assert answer.status == 200
    assert "server" not in answer.headers
    assert "set-cookie" not in answer.headers
    assert "Traceback" not in Path(server.log).read_text()


def test_only_loopback_listens(server: Server) -> None:
    assert server.process is not None
    sockets = psutil.Process(server.process.pid).net_connections("inet")
    assert {s.laddr[0] for s in sockets if s.status == psutil.CONN_LISTEN} == {"127.0.0.1"}

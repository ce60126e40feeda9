"""The door, judged without a server: one rule after another. tests/security asks a real one."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from gpu_runner.serve.guard import (
    MAX_BODY_BYTES,
    MAX_HEADERS,
    SECURITY_HEADERS,
    Allowance,
    Guard,
    is_api,
    is_control,
    own_hosts,
)
from unfrozen.schema import policy

TOKEN = "0123456789abcdef0123456789abcdef"
HOST = "127.0.0.1:8765"
BEARER = f"Bearer {TOKEN}"


async def fine(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application that answers 200 to everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


@pytest.fixture
def guard() -> Guard:
    return Guard(fine, token=TOKEN, hosts=own_hosts("127.0.0.1", 8765))


def scope(path: str = "/", method: str = "GET", query: str = "", **headers: str) -> Scope:
    named = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
    }


def status(guard: Guard, asked: Scope) -> int:
    refusal = guard.check(asked)
    return refusal.status if refusal else 200


@pytest.mark.parametrize("host", [HOST, "localhost:8765", "[::1]:8765"])
def test_our_own_names_pass(guard: Guard, host: str) -> None:
    assert status(guard, scope(host=host)) == 200


FOREIGN_NAMES = """
    127.0.0.1 127.0.0.1:8766 localhost.:8765 LOCALHOST:8765 [::1] [::]:8765 evil.example:8765
    127.0.0.1:8765.evil.example 127.0.0.2:8765 0.0.0.0:8765 0x7f.1:8765 127.1:8765
    user@127.0.0.1:8765 127.0.0.1:08765 127.0.0.1:8765,evil.example
"""


@pytest.mark.parametrize("host", ["", " 127.0.0.1:8765", *FOREIGN_NAMES.split()])
def test_every_other_name_is_refused(guard: Guard, host: str) -> None:
    assert status(guard, scope(host=host)) == 403


def test_a_second_host_header_is_refused(guard: Guard) -> None:
    asked = scope()
    asked["headers"].append((b"host", HOST.encode()))
    assert status(guard, asked) == 403


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (BEARER, 200),
        ("", 401),
        (TOKEN, 401),
        (f"bearer {TOKEN}", 401),
        (f"Bearer  {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN.upper()}", 401),
        ("Basic dXNlcjpwYXNz", 401),
        ("Bearer é", 401),
    ],
)
def test_runs_are_for_the_holder_of_the_token(guard: Guard, given: str, expected: int) -> None:
    assert status(guard, scope("/api/runs", authorization=given)) == expected
    assert status(guard, scope("/", authorization=given)) == 200


def test_two_tokens_are_no_token(guard: Guard) -> None:
    asked = scope("/api/runs", authorization=BEARER)
    asked["headers"].append((b"authorization", BEARER.encode()))
    assert status(guard, asked) == 401


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/runs", "/api/x/../../", "/api/runs\n"])
def test_everything_below_api_is_private(path: str) -> None:
    assert is_api(path)


@pytest.mark.parametrize(
    ("site", "mode", "path", "expected"),
    [
        ("same-origin", "cors", "/api/runs", 200),
        ("same-origin", "no-cors", "/assets/x.js", 200),
        ("none", "navigate", "/", 200),
        ("none", "navigate", "/api/runs", 403),
        ("none", "cors", "/", 403),
        ("cross-site", "navigate", "/", 403),
        ("cross-site", "no-cors", "/assets/x.js", 403),
        ("same-site", "cors", "/api/runs", 403),
        ("same-site", "navigate", "/", 403),
        ("cross-site", "navigate", "/embed/planner/", 200),
        ("cross-site", "no-cors", "/embed/planner/", 403),
        ("cross-site", "navigate", "/embedded", 403),
        ("SAME-ORIGIN", "cors", "/", 403),
        ("", "cors", "/", 403),
    ],
)
def test_only_our_own_page_may_ask(
    guard: Guard, site: str, mode: str, path: str, expected: int
) -> None:
    asked = scope(path, authorization=BEARER, sec_fetch_site=site, sec_fetch_mode=mode)
    assert status(guard, asked) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (f"http://{HOST}", 200),
        ("null", 403),
        ("http://127.0.0.1:8766", 403),
        ("http://localhost:8765", 403),
        (f"https://{HOST}", 403),
        ("http://evil.example", 403),
        ("", 403),
    ],
)
def test_an_origin_must_be_the_one_that_was_asked(guard: Guard, origin: str, expected: int) -> None:
    assert status(guard, scope("/api/runs", authorization=BEARER, origin=origin)) == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
def test_only_reading_exists(guard: Guard, method: str) -> None:
    assert status(guard, scope("/", method)) == 405


def test_what_is_too_large_is_refused(guard: Guard) -> None:
    assert status(guard, scope("/" + "a" * 3000)) == 414
    assert status(guard, scope("/", query="a" * 3000)) == 414
    assert status(guard, scope("/", cookie="a" * 20_000)) == 431
    assert status(guard, scope("/", **{f"x_{n}": "1" for n in range(MAX_HEADERS)})) == 431
    assert status(guard, scope("/", content_length="1")) == 413
    assert status(guard, scope("/", transfer_encoding="chunked")) == 413


def drive(guard: Guard, asked: Scope) -> list[Message]:
    """Runs the guard to its end and returns what it sent."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    running = guard(asked, receive, send)
    with pytest.raises(StopIteration):
        running.send(None)  # type: ignore[attr-defined]  # nothing here ever waits
    return sent


@pytest.mark.parametrize(
    "asked", [scope(), scope("/api/runs"), scope("/", "POST"), scope(host="x")]
)
def test_every_answer_carries_the_security_headers_and_no_permission(
    guard: Guard, asked: Scope
) -> None:
    headers = {name.decode(): value.decode() for name, value in drive(guard, asked)[0]["headers"]}
    assert {
        name.lower(): value for name, value in SECURITY_HEADERS.items()
    }.items() <= headers.items()
    assert headers["unfrozen-runner"] == "1"  # what a page without a token may know
    assert not [name for name in headers if name.startswith("access-control")]
    if drive(guard, asked)[0]["status"] != 200:
        assert headers["cache-control"] == "no-store"


def test_a_websocket_is_refused_before_its_handshake(guard: Guard) -> None:
    assert drive(guard, {**scope(), "type": "websocket"}) == [
        {"type": "websocket.close", "code": 1008}
    ]


def test_refusals_are_counted_and_a_flood_is_logged_a_few_times(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(250):
        drive(guard, scope("/api/runs"))
    assert sum(guard.refusals.values()) == 250
    assert len(caplog.records) == 3


def test_an_explicit_address_is_one_of_our_names() -> None:
    assert "192.168.1.5:8765" in own_hosts("192.168.1.5", 8765)
    assert "[fd00::1]:8765" in own_hosts("fd00::1", 8765)
    assert "localhost" in own_hosts("127.0.0.1", 80)


def test_the_header_of_what_has_no_policy_of_its_own_allows_no_frames_and_no_styles() -> None:
    header = SECURITY_HEADERS["Content-Security-Policy"]
    assert header == f"{policy.PAGE}; frame-ancestors 'none'"
    assert "style-src" not in header
    assert "require-trusted-types-for 'script'" in header


def test_the_worker_of_cells_may_ask_for_nothing_but_scripts(guard: Guard) -> None:
    start = drive(guard, scope("/python/worker.js"))[0]
    sent = dict(start["headers"])[b"content-security-policy"].decode()
    assert sent == policy.CELLS == "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"


JSON = {"authorization": BEARER, "content_type": "application/json", "content_length": "20"}


def controlling(**more: bool) -> Guard:
    allowed = more or {"control": True}
    return Guard(fine, token=TOKEN, hosts=own_hosts("127.0.0.1", 8765), **allowed)


@pytest.mark.parametrize("path", ["/api/runs/one/ask", "/api/runs/one/control"])
def test_a_short_json_body_passes_only_where_control_is_allowed(guard: Guard, path: str) -> None:
    asked = scope(path, "POST", **JSON)
    assert status(controlling(), asked) == 200
    assert status(guard, asked) == 403
    refusal = guard.check(asked)
    assert refusal is not None
    assert "--allow-control" in refusal.reason
    assert status(guard, scope(path, "POST", **JSON | {"authorization": ""})) == 401


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"content_type": "APPLICATION/JSON"}, 200),
        ({"content_type": "application/json, text/plain"}, 415),
        ({"content_type": ""}, 415),
        ({"content_length": str(MAX_BODY_BYTES)}, 200),
        ({"content_length": str(MAX_BODY_BYTES + 1)}, 413),
        ({"content_length": "9" * 40}, 413),
        ({"content_length": "-1"}, 411),
        ({"content_length": "0x10"}, 411),
        ({"transfer_encoding": "chunked"}, 411),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": f"http://{HOST}", "sec_fetch_site": "same-origin"}, 200),
    ],
)
def test_a_body_must_say_what_it_is_and_how_long(headers: dict[str, str], expected: int) -> None:
    assert status(controlling(), scope("/api/runs/one/ask", "POST", **JSON | headers)) == expected


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/api",
            "/api/",
            "/api/runs",
            "/api/control",
            "/api/runs/one/ask/",
            "/api/runs/one/asks",
            "/start",
            "/",
        ),
        *(
            "/api/runs/one/events",
            "/api/runs/a/b/control",
            "/api/runs//control",
            "/API/RUNS/one/ask",
        ),
    ],
)
def test_nothing_else_takes_a_post(path: str) -> None:
    assert not is_control(path)
    assert status(controlling(), scope(path, "POST", **JSON)) == 405


def test_commands_are_allowed_as_fast_as_a_person_clicks() -> None:
    allowance = Allowance(burst=3, a_second=0.001)
    assert [allowance.take() for _ in range(5)] == [True, True, True, False, False]
    assert all(Allowance(burst=1, a_second=1e9).take() for _ in range(5))

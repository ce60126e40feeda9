"""The guard of the server: every request passes it before any route sees it.

A loopback port is not private. Any web page the reader has open can send requests to it, a rebound
DNS name can even read the answers, and other users of the machine can connect. So, in this order:

1. sizes      a request line, headers or body beyond the bounds stop here
2. Host       must be one of our own names with our port, spelled exactly (DNS rebinding)
3. method     GET and HEAD, and POST for commands: a short JSON body, and nothing else; there is
              nothing to preflight, and no CORS header is ever sent
4. browser    `Sec-Fetch-Site` and `Origin`, when present, must name our own page, unless a page of
              another site shows a figure of /embed/ in a frame
5. token      everything under /api needs the bearer token, also from our own page
6. control    commands only where the server allows them, and no faster than a person clicks

Sources: Fetch metadata (W3C, "Fetch Metadata Request Headers"), RFC 6750 (bearer tokens), RFC 9110
(Host, 421). A refusal is counted by reason and logged at its 1st, 10th, 100th … time.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unfrozen.schema import policy

MAX_TARGET_BYTES: Final = 2048
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_HEADERS: Final = 64
MAX_BODY_BYTES: Final = 64 * 1024
METHODS: Final = ("GET", "HEAD")
JSON_TYPES: Final = ("application/json", "application/json; charset=utf-8")

CELLS_WORKER: Final = "/python/worker.js"
RUNNER: Final = "Unfrozen-Runner"
"""A header of every answer: it tells a page without a token that a runner is there."""
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": policy.PAGE + policy.NO_FRAMES,  # a page has its own: `site`
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: an HTTP status, and a sentence for the person who sent it."""

    status: int
    reason: str


@dataclass(slots=True)
class Allowance:
    """A limit of how often something is done: `burst` times at once, then so often `a_second`."""

    burst: float = 20.0
    a_second: float = 10.0
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.burst, time.monotonic()

    def take(self) -> bool:
        """Return whether once more is allowed; if so, count it."""
        now = time.monotonic()
        self._left = min(self.burst, self._left + (now - self._at) * self.a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Guard:
    """ASGI middleware that refuses what does not come from our own page or the token's holder.

    `hosts` are the exact Host values that mean us, port included, as `own_hosts` makes them;
    `control`: whether runs may be paused, saved, stopped and resumed; `let_in` is called with
    every request that has shown the token. A refused connection is closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        hosts: frozenset[str],
        control: bool = False,
        let_in: Callable[[Scope], None] = lambda _: None,
    ) -> None:
        self.app = app
        self._let_in = let_in
        self._allowance = Allowance() if control else None
        self.refusals: Counter[str] = Counter()
        self._bearer = f"Bearer {token}".encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through with our security headers on its answer, or refuse it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # there is no WebSocket route; say no before the handshake
            self._count(scope, Refusal(403, "there are no WebSockets here"))
            return await send({"type": "websocket.close", "code": 1008})
        refusal = self.check(scope)
        secured = _with_security_headers(scope, send)
        if refusal is None:
            return await self.app(scope, receive, secured)
        self._count(scope, refusal)
        answer = PlainTextResponse(f"{refusal.reason}\n", refusal.status, _extra(refusal.status))
        return await answer(scope, receive, secured)

    def check(self, scope: Scope) -> Refusal | None:
        """Return the first rule that the request breaks, or None when it may pass."""
        headers = Headers(scope=scope)
        return (
            _sizes(scope)
            or self._host(headers)
            or _method(scope, headers)
            or _browser(scope, headers)
            or self._token(scope, headers)
            or self._control(scope)
        )

    def _host(self, headers: Headers) -> Refusal | None:
        if len(values := headers.getlist("host")) == 1 and values[0] in self._hosts:
            return None
        return Refusal(403, f"this server answers only to {', '.join(sorted(self._hosts))}")

    def _token(self, scope: Scope, headers: Headers) -> Refusal | None:
        if not is_api(scope["path"]):
            return None  # the article is public; only runs are private
        given = headers.getlist("authorization")
        if len(given) == 1 and hmac.compare_digest(given[0].encode("latin-1"), self._bearer):
            self._let_in(scope)
            return None
        return Refusal(401, "open the address that the server printed: it carries the token")

    def _control(self, scope: Scope) -> Refusal | None:
        if scope["method"] != "POST":
            return None
        if self._allowance is None:
            return Refusal(403, "control is off: restart the server with --allow-control")
        if not self._allowance.take():
            return Refusal(429, "too many commands at once: wait a second")
        return None

    def _count(self, scope: Scope, refusal: Refusal) -> None:
        self.refusals[refusal.reason] += 1
        times = self.refusals[refusal.reason]
        if str(times).strip("0") == "1":  # 1, 10, 100 …: a flood must not fill the terminal
            target = scope.get("raw_path", b"")[:200]
            _log.warning("refused %r, %d in all: %s", target, times, refusal.reason)


def own_hosts(address: str, port: int) -> frozenset[str]:
    """The Host values that name this server: loopback names, and `address` when it is another."""
    names = {"127.0.0.1", "localhost", "[::1]", f"[{address}]" if ":" in address else address}
    with_port = {f"{name}:{port}" for name in names}
    return frozenset(with_port | names if port == 80 else with_port)


def is_api(path: str) -> bool:
    """Return whether `path` (decoded, as the router sees it) belongs to the private part."""
    return path == "/api" or path.startswith("/api/")


def _sizes(scope: Scope) -> Refusal | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    target_bytes = len(scope.get("raw_path", b"")) + len(scope["query_string"])
    if target_bytes > MAX_TARGET_BYTES:
        return Refusal(414, f"addresses have at most {MAX_TARGET_BYTES:,} bytes")
    header_bytes = sum(len(name) + len(value) for name, value in headers)
    if header_bytes > MAX_HEADER_BYTES or len(headers) > MAX_HEADERS:
        return Refusal(431, f"at most {MAX_HEADERS} headers with {MAX_HEADER_BYTES:,} bytes")
    return None


def is_control(path: str) -> bool:
    """Return whether a run changes its course or answers by a POST to `path`."""
    return re.fullmatch(r"/api/runs/[^/]+/(control|ask)", path) is not None


def _method(scope: Scope, headers: Headers) -> Refusal | None:
    if scope["method"] == "POST" and is_control(scope["path"]):
        return _body(headers)
    if scope["method"] not in METHODS:
        return Refusal(405, f"only {' and '.join(METHODS)} exist here")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return Refusal(413, "requests here have no body")
    return None


def _body(headers: Headers) -> Refusal | None:
    """A body must say what it is and how long, and be short: nothing is read before that."""
    if [kind.lower() for kind in headers.getlist("content-type")] not in [[k] for k in JSON_TYPES]:
        return Refusal(415, "the body must be application/json")
    lengths = headers.getlist("content-length")
    if "transfer-encoding" in headers or len(lengths) != 1 or not lengths[0].isdecimal():
        return Refusal(411, "the body must say its length")
    if len(lengths[0]) > 9 or int(lengths[0]) > MAX_BODY_BYTES:
        return Refusal(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
    return None


def _browser(scope: Scope, headers: Headers) -> Refusal | None:
    site = headers.get("sec-fetch-site", "same-origin")
    path, goes_to = scope["path"], headers.get("sec-fetch-mode") == "navigate"
    typed = goes_to and site == "none" and not is_api(path)
    framed = goes_to and path.startswith(policy.EMBEDS)
    if site != "same-origin" and not (typed or framed):
        return Refusal(403, "only this server's own page may ask")
    ours = f"http://{headers['host']}"
    if any(origin != ours for origin in headers.getlist("origin")):
        return Refusal(403, f"only pages of {ours} may ask")
    if len(headers.getlist("sec-fetch-site")) > 1:
        return Refusal(403, "Sec-Fetch-Site came twice")
    return None


def _extra(status: int) -> dict[str, str]:
    known = {
        401: {"WWW-Authenticate": "Bearer"},
        405: {"Allow": ", ".join(METHODS)},
        429: {"Retry-After": "1"},
    }
    return {"Connection": "close", **known.get(status, {})}


def _with_security_headers(scope: Scope, send: Send) -> Send:
    private = is_api(scope["path"])

    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers[RUNNER] = "1"
            if scope["path"] == CELLS_WORKER:
                headers["Content-Security-Policy"] = policy.CELLS
            if private or message["status"] >= 400:
                headers["Cache-Control"] = "no-store"
        await send(message)

    return secured

"""Requests as bytes on a socket of their own, and what an answer to a wrong one must look like."""

import socket
from dataclasses import dataclass

from conftest import Server
from gpu_runner.serve.guard import SECURITY_HEADERS

SECRET = "the-text-that-must-not-leak"


@dataclass(frozen=True)
class Answer:
    """What came back on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


def send(server: Server, request: bytes) -> Answer | None:
    """One request on its own connection; None when the server closed without an answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as wire:
        wire.sendall(request)
        received = b""
        try:
            while piece := wire.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
    if not received:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers, body)


def ask(
    server: Server,
    target: str,
    *more: str,
    method: str = "GET",
    host: str | None = "ours",
    token: str | None = "ours",
    body: bytes = b"",
) -> Answer | None:
    """A request line, headers and a body, exactly as given."""
    lines = [f"{method} {target} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {f'127.0.0.1:{server.port}' if host == 'ours' else host}")
    if token is not None:
        lines.append(f"Authorization: Bearer {server.token if token == 'ours' else token}")
    text = "\r\n".join([*lines, *more, "Connection: close", "", ""])
    return send(server, text.encode("latin-1") + body)


def assert_refused(answer: Answer | None, *, by_us: bool = True) -> None:
    """Not an answer anyone can use. `by_us`: past the parser, so with our headers on it."""
    if answer is None:
        assert not by_us
        return
    assert 400 <= answer.status < 500
    assert SECRET.encode() not in answer.body
    assert "access-control-allow-origin" not in answer.headers
    if by_us:
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name.lower()] == value.lower()
        assert answer.headers["cache-control"] == "no-store"

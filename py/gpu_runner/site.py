"""The built site as a table from address to bytes, made once when the server starts.

A request only ever looks its path up here, so no spelling of `..` can leave the site. The one thing
that the server changes in the page is how `unfrozen` is typed where it was installed.
"""

from __future__ import annotations

import hashlib
import html
import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

# The system's table varies from machine to machine, and a browser refuses a module or a WebAssembly
# stream under the wrong name, so what we ship is named here.
CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl; charset=utf-8",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".whl": "application/octet-stream",
    ".woff2": "font/woff2",
    ".zip": "application/zip",
}
HASHED_NAME: Final = re.compile(r"-[0-9A-Za-z]{8,}\.[a-z0-9]+$")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the site, as it is sent."""

    body: bytes
    content_type: str
    etag: str
    cache_control: str


PROGRAM: Final = b'data-program="%s"'  # of the page's html element


class SiteTable:
    """Every file under `root` at its address; `index.html` also at the address of its folder.

    Links and hidden files are left out. `beside` has folders that stand under an address of their
    own, where `root` has none there; `program` is what the page tells its reader to type.
    """

    def __init__(
        self, root: Path, *, beside: Mapping[str, Path] | None = None, program: str = "unfrozen"
    ) -> None:
        self._assets: dict[str, Asset] = {}
        for address, path in self._files(root, beside or {}):
            body = path.read_bytes()
            if address == "/index.html":
                typed = html.escape(program).encode()
                body = body.replace(PROGRAM % b"unfrozen", PROGRAM % typed, 1)
            self._assets[address] = asset = _asset(path.name, body)
            if path.name == "index.html":
                self._assets[address.removesuffix("index.html")] = asset

    def _files(self, root: Path, beside: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
        yield from _below(root, "")
        for address, folder in beside.items():
            if not (root / address).exists():
                yield from _below(folder, f"/{address}")

    def answer(self, request: Request) -> Response:
        """The file at the request's path: 200, 304 if the client has it, 404 for the rest."""
        if (asset := self._assets.get(request.scope["path"])) is None:
            return PlainTextResponse("There is no such page here.\n", 404)
        headers = {"ETag": asset.etag, "Cache-Control": asset.cache_control}
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, 200, headers, asset.content_type)


def _below(root: Path, address: str) -> Iterator[tuple[str, Path]]:
    """The address and the path of every file to serve below `root`."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and not _has_link(root, relative) and path.is_file():
            yield f"{address}/{relative.as_posix()}", path


def _asset(name: str, body: bytes) -> Asset:
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(
        body=body,
        content_type=CONTENT_TYPES.get(Path(name).suffix, guessed),
        etag=f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        cache_control=(
            "public, max-age=31536000, immutable" if HASHED_NAME.search(name) else "no-cache"
        ),
    )


def _has_link(root: Path, relative: Path) -> bool:
    return any((root / part).is_symlink() for part in (relative, *relative.parents[:-1]))

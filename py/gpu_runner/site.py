"""The built site as a table from address to bytes, made once when the server starts.

A request only ever looks its path up here, so no spelling of `..` can leave the site. The one thing
that the server changes in the page is how `unfrozen` is typed where it was installed.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import mimetypes
import re
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


SPLICED: Final = ".spliced"  # what a wheel holds once for the page and the runner
PROGRAM: Final = b'data-program="%s"'  # of the page's html element


class SiteTable:
    """Every file under `root` at its address; `index.html` also at the address of its folder.

    Links and hidden files are left out. `NAME.spliced` is served as NAME, put together from parts
    that lie in `package` too; `program` is what the page tells its reader to type.
    """

    def __init__(
        self, root: Path, *, package: Path | None = None, program: str = "unfrozen"
    ) -> None:
        self._assets: dict[str, Asset] = {}
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            hidden = any(part.startswith(".") for part in relative.parts)
            if hidden or _has_link(root, relative) or not path.is_file():
                continue
            address, body = f"/{relative.as_posix()}", path.read_bytes()
            if package is not None and path.suffix == SPLICED:
                address, body = address.removesuffix(SPLICED), spliced(body, package)
            if address == "/index.html":
                typed = html.escape(program).encode()
                body = body.replace(PROGRAM % b"unfrozen", PROGRAM % typed, 1)
            self._assets[address] = asset = _asset(address, body)
            if path.name == "index.html":
                self._assets[address.removesuffix("index.html")] = asset

    def answer(self, request: Request) -> Response:
        """The file at the request's path: 200, 304 if the client has it, 404 for the rest."""
        if (asset := self._assets.get(request.scope["path"])) is None:
            return PlainTextResponse("There is no such page here.\n", 404)
        headers = {"ETag": asset.etag, "Cache-Control": asset.cache_control}
        if asset.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, 200, headers, asset.content_type)


def spliced(parts: bytes, package: Path) -> bytes:
    """A file from its parts, a list in JSON: `{"file": NAME}` of `package` or `{"base64": …}`."""
    return b"".join(
        (package / part["file"]).read_bytes()
        if "file" in part
        else base64.b64decode(part["base64"])
        for part in json.loads(parts)
    )


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

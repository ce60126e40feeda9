"""The built site as a table from address to bytes, made once when the server starts.

A request only ever looks its path up here, so no spelling of `..` can leave the site. The one thing
that the server changes in the page is how `unfrozen` is typed where it was installed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import lzma
import mimetypes
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from unfrozen.schema import policy

# The system's table varies from machine to machine, and a browser refuses a module or a WebAssembly
# stream under the wrong name, so what we ship is named here.
CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl; charset=utf-8",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".whl": "application/octet-stream",
    ".woff2": "font/woff2",
    ".zip": "application/zip",
}
HASHED_NAME: Final = re.compile(r"-[0-9A-Za-z]{8,}\.[a-z0-9]+$")


SPLICED: Final = ".spliced"  # what a wheel holds once for the page and the runner
FORMS: Final = {"br": ".br", "gzip": ".gz"}
"""Suffix of each compressed form, by its name in `Accept-Encoding`; the smallest first."""
PACKED: Final = ".xz"  # how a wheel holds what deflate shrinks too little; unpacked when asked for
META: Final = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]*)"')
TYPED: Final = 'data-program="%s" data-runs="%s"'  # of the page's html element


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the site, as it is sent."""

    body: bytes
    content_type: str
    etag: str
    cache_control: str
    forms: Mapping[str, bytes]
    """The same compressed, by the name of the form, where the build found that worth it."""
    policy: str
    """What a page says in a `<meta>` that a browser may load for it; empty for other files."""


class SiteTable:
    """Every file under `root` at its address; `index.html` also at the address of its folder.

    Links and hidden files are left out. `NAME.spliced` is served as NAME, put together from parts
    that lie in `package` too; `NAME.xz` is unpacked when NAME is first asked for; `NAME.br` or
    `NAME.gz` is sent of NAME to clients that accept it; `program` is what the page tells its reader
    to type, `runs` the folder to give with it, quoted for a shell.
    """

    def __init__(
        self, root: Path, *, package: Path | None = None, program: str = "unfrozen", runs: str = ""
    ) -> None:
        self._assets: dict[str, Asset] = {}
        self._packed: dict[str, Path] = {}
        files = dict(site_files(root))
        for address, path in files.items():
            if path.suffix in FORMS.values() and address.removesuffix(path.suffix) in files:
                continue
            if path.suffix == PACKED:
                self._packed[address.removesuffix(PACKED)] = path
                continue
            body = path.read_bytes()
            found = {name: files.get(f"{address}{suffix}") for name, suffix in FORMS.items()}
            forms = _fitting(body, {name: of.read_bytes() for name, of in found.items() if of})
            if package is not None and path.suffix == SPLICED:
                address, body = address.removesuffix(SPLICED), spliced(body, package)
            if path.name == "index.html":
                body, forms = _typed(body, forms, program, runs)
            self._assets[address] = asset = _asset(address, body, forms)
            if path.name == "index.html":
                self._assets[address.removesuffix("index.html")] = asset

    def answer(self, request: Request) -> Response:
        """The file at the request's path: 200, 304 if the client has it, 404 for the rest.

        A folder without its slash is led to the address with it, on which relative links rely.

        Compressed where there is such a form and `Accept-Encoding` takes it: another form of the
        same file, with an ETag of its own (RFC 9110, 8.8.3 and 12.5.3).
        """
        path = request.scope["path"]
        if (packed := self._packed.pop(path, None)) is not None:
            self._assets[path] = _asset(path, lzma.decompress(packed.read_bytes()), {})
        if (asset := self._assets.get(path)) is None:
            if f"{path}/" in self._assets:
                return Response(status_code=308, headers={"Location": f"{path.split('/')[-1]}/"})
            return PlainTextResponse("There is no such page here.\n", 404)
        headers = {"ETag": asset.etag, "Cache-Control": asset.cache_control}
        if asset.policy:
            frames = "" if path.startswith(policy.EMBEDS) else policy.NO_FRAMES
            headers["Content-Security-Policy"] = asset.policy + frames
        body = asset.body
        if asset.forms:
            headers["Vary"] = "Accept-Encoding"
            taken = taken_encodings(request.headers.get("accept-encoding", ""))
            if form := next((name for name in asset.forms if name in taken), None):
                body = asset.forms[form]
                headers |= {"ETag": f'{asset.etag[:-1]}-{form}"', "Content-Encoding": form}
        if _has(request.headers.get("if-none-match", ""), headers["ETag"]):
            headers.pop("Content-Encoding", None)
            return Response(status_code=304, headers=headers)
        return Response(body, 200, headers, asset.content_type)


def taken_encodings(accepted: str) -> set[str]:
    """Return the FORMS that an `Accept-Encoding` takes, by name or by `*`, of a weight above 0."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        found = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", parameter)
        weights[name.strip()] = float(found[1]) if found else 0.0 if parameter.strip() else 1.0
    if "x-gzip" in weights:
        weights.setdefault("gzip", weights["x-gzip"])
    return {form for form in FORMS if weights.get(form, weights.get("*", 0.0)) > 0}


def _has(tags: str, etag: str) -> bool:
    """Return whether an `If-None-Match` names the form that would be sent, compared weakly."""
    return etag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]


def site_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Address and path of every file of the site, in order."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and not _has_link(root, relative) and path.is_file():
            yield f"/{relative.as_posix()}", path


def _fitting(body: bytes, forms: dict[str, bytes]) -> dict[str, bytes]:
    """`forms` if they are of `body`: length and checksum end that of gzip, made with the others."""
    fits = forms.get("gzip", b"")[-8:] == struct.pack("<II", zlib.crc32(body), len(body))
    return forms if fits else {}


def _typed(body: bytes, forms: dict[str, bytes], *words: str) -> tuple[bytes, dict[str, bytes]]:
    """The page with what its reader types in it; compressed anew, where that changed it."""
    own = TYPED % tuple(map(html.escape, words))
    typed = body.replace((TYPED % ("unfrozen", "")).encode(), own.encode(), 1)
    if typed != body and forms:
        forms = {"gzip": gzip.compress(typed, mtime=0)}
    return typed, forms


def spliced(parts: bytes, package: Path) -> bytes:
    """A file from its parts, a list in JSON: `{"file": NAME}` of `package` or `{"base64": …}`."""
    return b"".join(
        (package / part["file"]).read_bytes()
        if "file" in part
        else base64.b64decode(part["base64"])
        for part in json.loads(parts)
    )


def _asset(name: str, body: bytes, forms: Mapping[str, bytes]) -> Asset:
    said = META.search(body) if name.endswith(".html") else None
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(
        body=body,
        content_type=CONTENT_TYPES.get(Path(name).suffix, guessed),
        etag=f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        cache_control=(
            "public, max-age=31536000, immutable" if HASHED_NAME.search(name) else "no-cache"
        ),
        forms=forms,
        policy=html.unescape(said[1].decode()) if said else "",
    )


def _has_link(root: Path, relative: Path) -> bool:
    return any((root / part).is_symlink() for part in (relative, *relative.parents[:-1]))

"""A model by any of its names: the catalogue's, a copy's, one of the Hugging Face hub, a size.

The hub is asked for a config.json alone, each time, with what an earlier answer was called: so what
is kept is never out of date while the hub answers. It is told the name and, where there is one, the
user's token, which goes to no other origin. HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME, HF_HUB_CACHE and
HF_TOKEN mean what they mean to the hub's own client, whose cache is read where the hub is away.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from unfrozen.errors import quote_value
from unfrozen.model import names
from unfrozen.model.names import LARGEST_CONFIG_BYTES, HubReader, ModelSource, Unanswered, is_hub_id
from unfrozen.plain import read_json, read_plain

if TYPE_CHECKING:
    from email.message import Message

SECONDS: Final = 20
"""Seconds that the hub may take for all of its answer."""
_REDIRECTS: Final = 5
_MOST_TOKEN: Final = 1000


def is_hub_name(name: str) -> bool:
    """Return whether a text has the form of a model's name on the hub, and is no file."""
    return is_hub_id(name) and not Path(name).exists()


def named_model(name: str) -> tuple[dict[str, Any], ModelSource | None]:
    """Return the config of a model by its name, and where it is from unless the catalogue has it.

    Raises PlanError for a name that neither the catalogue nor the hub has and that says no size.
    """
    return names.named_model(name, _ask if is_hub_name(name) else None)


# --- the hub ------------------------------------------------------------------------------------
def _reader() -> HubReader:
    hub = (os.environ.get("HF_ENDPOINT") or names.HUB).rstrip("/")
    sign_in = "sign in with `hf auth login`, or set HF_TOKEN"
    return HubReader(hub, sign_in, "give the model's config.json by --model FILE", bool(_token()))


def _ask(name: str) -> tuple[dict[str, Any], str, str]:
    """Return a model's config.json, its revision, and why it is an earlier answer, or "".

    Raises `Unanswered`.
    """
    kept = _read_kept(name)
    try:
        status, headers, body = _fetch(name, kept["etag"] if kept else "")
        if status == 304 and kept:
            return kept["config"], kept["revision"], ""
        config = _reader().read(name, status, headers, body)
    except Unanswered as error:
        kept = None if error.final else kept or _of_client(name)
        if kept is None:
            raise
        return kept["config"], kept["revision"], error.why
    revision, etag = headers.get("x-repo-commit", ""), headers.get("etag", "")
    with suppress(OSError, RuntimeError):
        _keep({"name": name, "revision": revision, "etag": etag, "config": config})
    return config, revision, ""


def _fetch(name: str, etag: str) -> tuple[int, Mapping[str, str], bytes]:
    """Return the hub's answer. Raises `Unanswered` where it takes longer than `SECONDS`.

    Another thread asks: neither names nor the lines of a head have a limit of time by themselves.
    """
    from threading import Thread

    if _is_set("HF_HUB_OFFLINE") or _is_set("TRANSFORMERS_OFFLINE"):
        raise Unanswered("HF_HUB_OFFLINE is set, so the hub is not asked", _reader().by_hand)
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(_request(name, etag))
        except Exception as error:
            found.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS)
    answer = found[0] if found else TimeoutError(f"no whole answer in {SECONDS} seconds")
    if isinstance(answer, Unanswered):
        raise answer
    if isinstance(answer, Exception):
        reason = getattr(answer, "reason", answer)
        reason = getattr(reason, "strerror", None) or reason
        raise _reader().unreached(str(reason)) from answer
    return answer  # type: ignore[no-any-return]


def _request(name: str, etag: str) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, head and body, after redirects within the hub. Raises what urllib raises."""
    from urllib.error import HTTPError
    from urllib.parse import urljoin, urlsplit
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    hub, by_hand = (reader := _reader()).hub, reader.by_hand
    url, origin = reader.address(name), urlsplit(hub)
    if origin.scheme not in ("http", "https") or not origin.hostname:
        raise Unanswered(f"HF_ENDPOINT is {quote_value(hub)}, no address", "correct it", final=True)
    own = {"User-Agent": "unfrozen", "Accept": "application/json", "Accept-Encoding": "identity"}
    own |= {"If-None-Match": etag} if etag else {}
    if token := _token():
        own["Authorization"] = f"Bearer {token}"
    opener, revision = build_opener(NoRedirect), ""
    for _ in range(_REDIRECTS + 1):
        try:
            with opener.open(Request(url, headers=own), timeout=SECONDS) as answer:
                head: Message = answer.headers
                status, body = answer.status, answer.read(LARGEST_CONFIG_BYTES + 1)
        except HTTPError as error:
            head, status, body = error.headers, error.code, b""
        said = {"x-repo-commit": revision, **{key.lower(): value for key, value in head.items()}}
        revision = said["x-repo-commit"]
        if status not in (301, 302, 303, 307, 308):
            return status, said, body
        url = urljoin(url, said.get("location", ""))
        place = urlsplit(url)
        if (place.scheme, place.netloc) != (origin.scheme, origin.netloc):
            why = f"the hub sent the question elsewhere ({quote_value(place.netloc)})"
            raise Unanswered(why, by_hand)
    raise Unanswered(f"the hub redirects more than {_REDIRECTS} times", by_hand)


def _token() -> str:
    """Return the user's token of the hub: HF_TOKEN, else that of `hf auth login`; "" for none."""
    token = os.environ.get("HF_TOKEN") or ""
    if not token and not _is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        with suppress(OSError, UnicodeDecodeError):
            path = os.environ.get("HF_TOKEN_PATH") or _home() / "token"
            token = read_plain(Path(path).expanduser(), _MOST_TOKEN).decode()
    token = token.strip()
    return token if token.isascii() and token.isprintable() else ""


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")


# --- what is kept -------------------------------------------------------------------------------
def _caches() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _home() -> Path:
    return Path(os.environ.get("HF_HOME") or _caches() / "huggingface").expanduser()


def _file(name: str) -> Path:
    from hashlib import sha256  # most plans ask for no name

    key = sha256(f"{_reader().hub}/{name}".encode()).hexdigest()
    return _caches() / "unfrozen" / "hub" / f"{key}.json"


def _read_kept(name: str) -> dict[str, Any] | None:
    """Return the hub's last answer of this name; None where there is none that can be read."""
    with suppress(OSError, ValueError, RuntimeError):
        found = read_json(_file(name), 2 * LARGEST_CONFIG_BYTES)
        if isinstance(found, dict) and found.get("name") == name:
            texts = all(isinstance(found.get(key), str) for key in ("revision", "etag"))
            return found if texts and isinstance(found.get("config"), dict) else None
    return None


def _keep(answer: Mapping[str, Any]) -> None:
    """Write an answer whole, in place of an earlier one. Raises OSError."""
    import tempfile

    path = _file(answer["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder, path.name)
        new.write_text(json.dumps(answer), "utf-8")
        new.replace(path)


def _of_client(name: str) -> dict[str, Any] | None:
    """Return the config.json that the hub's own client keeps of a model."""
    given = os.environ.get("HF_HUB_CACHE")
    folder = Path(given).expanduser() if given else _home() / "hub"
    folder /= f"models--{name.replace('/', '--')}"
    with suppress(OSError, ValueError, RuntimeError):
        revision = read_plain(folder / "refs" / "main", 100).decode().strip()
        place = folder / "snapshots" / revision / "config.json"
        if re.fullmatch(r"[\da-f]{40}", revision):
            config = read_json(place, LARGEST_CONFIG_BYTES, links=True)
            return {"config": config, "revision": revision} if isinstance(config, dict) else None
    return None

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
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from unfrozen.errors import PlanError, quote_value, strict_json
from unfrozen.job import LARGEST_CONFIG_BYTES
from unfrozen.model import catalogue
from unfrozen.model.catalogue import PublishedModel
from unfrozen.model.names import (
    copied_model,
    models_called,
    named_base,
    plain_name,
    sized_config,
)
from unfrozen.plain import read_json, read_plain

if TYPE_CHECKING:
    from email.message import Message

SECONDS: Final = 20
"""Seconds that the hub may take for all of its answer."""
_ID: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_REDIRECTS: Final = 5
_MOST_TOKEN: Final = 1000
_SHORT: Final = 12  # characters of a revision that a sentence has


class ModelSource(NamedTuple):
    """Where the config.json of a model was found, as an answer says it.

    planned_as   the published model whose tensors are taken for its
    origin       "catalogue", "hub", "cache" or "size"
    revision     the hub's, of the config.json
    note         all of it in a sentence
    """

    name: str
    planned_as: str | None
    origin: str
    revision: str | None
    note: str


class _Unanswered(Exception):
    """Why the hub gave no config.json, and what to do; `final` where it will not give it later."""

    def __init__(self, why: str, remedy: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.why, self.remedy, self.final = why, remedy, final


def is_hub_name(name: str) -> bool:
    """Return whether a text has the form of a model's name on the hub, and is no file."""
    return bool(_ID.fullmatch(name)) and not name.endswith(_FILES) and not Path(name).exists()


_FILES: Final = (".json", ".jsonl", ".yml", ".yaml", ".toml", ".sh", ".py", ".gguf", ".safetensors")


def loaded_name(name: str) -> str:
    """Return what a command calls a model: one in a format that is not trained by its base."""
    with suppress(PlanError):
        return catalogue.loaded_name(name)
    base = copied_model(name)
    return base.hub_id if base and plain_name(name) != name else name if _ID.fullmatch(name) else ""


def named_model(name: str) -> tuple[dict[str, Any], ModelSource | None]:
    """Return the config of a model by its name, and where it is from unless the catalogue has it.

    Raises PlanError for a name that neither the catalogue nor the hub has and that says no size.
    """
    with suppress(PlanError):
        return catalogue.find(name).config, None
    if base := copied_model(name):
        return _planned_as(name, base, "whose tensors it has.")
    if not is_hub_name(name):
        return _unasked(name)
    try:
        config, revision, kept = _ask(name)
    except _Unanswered as error:
        return _stand_in(name, error)
    why = f", kept from an earlier answer: {kept}" if kept else ""
    note = f"{name}: config.json of the hub, revision {revision[:_SHORT] or 'unknown'}{why}."
    return config, ModelSource(name, None, "cache" if kept else "hub", revision or None, note)


def _unasked(name: str) -> tuple[dict[str, Any], ModelSource]:
    """Return what stands for a name that is none of the hub. Raises PlanError."""
    found = models_called(name)
    if len(found) == 1:
        return _planned_as(name, found[0], "the only one of the catalogue that is called so.")
    if found:
        remedy = f"choose {', '.join(model.hub_id for model in found[:12])}"
        bound = f"{len(found)} models of the catalogue are called so"
        raise PlanError("model", name, bound, remedy)
    remedy = (
        f"give its config.json, or did you mean {catalogue.similar(name)}; names of the hub are"
        " OWNER/NAME"
    )
    raise PlanError("model", name, "this model is not in the catalogue", remedy)


def _planned_as(name: str, base: PublishedModel, why: str) -> tuple[dict[str, Any], ModelSource]:
    note = f"{name} is planned as {base.hub_id}, {why}"
    return base.config, ModelSource(name, base.hub_id, "catalogue", None, note)


def _stand_in(name: str, error: _Unanswered) -> tuple[dict[str, Any], ModelSource]:
    """Return the base that a name says, or a common decoder of its size. Raises PlanError."""
    why = error.why[:1].upper() + error.why[1:]
    if base := named_base(name):
        return _planned_as(name, base, f"which its name says. {why}: {error.remedy}.")
    if config := sized_config(name):
        note = (
            f"{name} is planned as a common decoder of the size that its name says: all of it may"
            f" be half as much, or twice. {why}: {error.remedy}."
        )
        return config, ModelSource(name, None, "size", None, note)
    raise PlanError("model", name, error.why, error.remedy)


# --- the hub ------------------------------------------------------------------------------------
def endpoint() -> str:
    """Return the address of the hub, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _ask(name: str) -> tuple[dict[str, Any], str, str]:
    """Return a model's config.json, its revision, and why it is an earlier answer, or "".

    Raises `_Unanswered`.
    """
    kept = _read_kept(name)
    try:
        status, headers, body = _fetch(name, kept["etag"] if kept else "")
        if status == 304 and kept:
            return kept["config"], kept["revision"], ""
        _check_status(name, status, headers)
        config = _config(body)
    except _Unanswered as error:
        kept = None if error.final else kept or _of_client(name)
        if kept is None:
            raise
        return kept["config"], kept["revision"], error.why
    revision, etag = headers.get("x-repo-commit", ""), headers.get("etag", "")
    with suppress(OSError, RuntimeError):
        _keep({"name": name, "revision": revision, "etag": etag, "config": config})
    return config, revision, ""


def _fetch(name: str, etag: str) -> tuple[int, Mapping[str, str], bytes]:
    """Return the hub's answer. Raises `_Unanswered` where it takes longer than `SECONDS`.

    Another thread asks: neither names nor the lines of a head have a limit of time by themselves.
    """
    from threading import Thread

    if _is_set("HF_HUB_OFFLINE") or _is_set("TRANSFORMERS_OFFLINE"):
        raise _Unanswered("HF_HUB_OFFLINE is set, so the hub is not asked", _BY_HAND)
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
    if isinstance(answer, _Unanswered):
        raise answer
    if isinstance(answer, Exception):
        reason = getattr(answer, "reason", answer)
        why = f"the hub at {endpoint()} cannot be reached ({quote_value(str(reason))[1:-1]})"
        raise _Unanswered(why, f"try again, or {_BY_HAND}") from answer
    return answer  # type: ignore[no-any-return]


def _request(name: str, etag: str) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, head and body, after redirects within the hub. Raises what urllib raises."""
    from urllib.error import HTTPError
    from urllib.parse import urljoin, urlsplit
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    url, origin = f"{endpoint()}/{name}/resolve/main/config.json", urlsplit(endpoint())
    if origin.scheme not in ("http", "https") or not origin.hostname:
        raise _Unanswered(
            f"HF_ENDPOINT is {quote_value(endpoint())}, no address", "correct it", final=True
        )
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
            raise _Unanswered(why, _BY_HAND)
    raise _Unanswered(f"the hub redirects more than {_REDIRECTS} times", _BY_HAND)


_BY_HAND: Final = "give the model's config.json by --model FILE"


def _check_status(name: str, status: int, headers: Mapping[str, str]) -> None:
    """Raise `_Unanswered` for every status but 200, by what the hub says of the model."""
    said, place = headers.get("x-error-code", ""), f"{endpoint()}/{name}"
    sign_in = "sign in with `hf auth login`, or set HF_TOKEN"
    if status == 200:
        return
    if said == "EntryNotFound" or (status == 404 and said != "RepoNotFound"):
        why = "the hub has no config.json of it"
        raise _Unanswered(
            why, "name the model that it was made of, or correct the name", final=True
        )
    if said == "GatedRepo" or status == 403:
        why = "the hub shows it only to those who have accepted its terms"
        raise _Unanswered(why, f"accept them at {place}, then {sign_in}", final=True)
    if status in (401, 404):
        why = "the hub shows no model of this name" + ("" if _token() else " to a visitor")
        raise _Unanswered(why, f"correct the name; if it is private, {sign_in}", final=True)
    if status == 429:
        raise _Unanswered("the hub wants fewer questions (429)", f"wait, or {sign_in}")
    raise _Unanswered(f"the hub answered with an error ({status})", f"try again, or {_BY_HAND}")


def _config(body: bytes) -> dict[str, Any]:
    """Return the config.json of an answer. Raises `_Unanswered`."""
    if len(body) > LARGEST_CONFIG_BYTES:
        why = f"the hub's answer has more than {LARGEST_CONFIG_BYTES:,} bytes"
        raise _Unanswered(why, _BY_HAND)
    try:
        config = strict_json(body.decode("utf-8-sig"))
    except ValueError as error:  # a page to sign in to a network, for instance
        html = body.lstrip()[:1] == b"<"
        kind = "a web page" if html else "not JSON"
        why = f"the hub's answer is {kind}, not a config.json ({error})"
        remedy = "sign in to this network" if html else "try again"
        raise _Unanswered(why, f"{remedy}, or {_BY_HAND}") from None
    if not isinstance(config, dict):
        raise _Unanswered("the hub's answer is not a config.json", f"try again, or {_BY_HAND}")
    return config


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

    key = sha256(f"{endpoint()}/{name}".encode()).hexdigest()
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

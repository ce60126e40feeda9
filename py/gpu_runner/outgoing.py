"""What leaves this machine: one look for secrets and for places of it, before it is handed on.

`publish` and `push` look here. Tokens are known by their shape, as their issuers
write them, so that a text about tokens is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from gpu_runner.errors import UsageError

ALLOW: Final = "--allow-private"
MOST_NAMED: Final = 5
_SHOWN: Final = 12
"""Characters of a finding in a message: enough to look for it, too few to use it."""
_TEXTS: Final = (".md", ".json", ".jsonl", ".jinja", ".txt", ".py", ".yaml", ".yml", ".toml")
_VOCABULARIES: Final = ("tokenizer.json", "vocab.json", "merges.txt")
"""Files of a model that hold every path somebody once wrote, and nothing of this machine."""
_KINDS: Final = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "an API key": r"\b(?:sk|rk|pk)-[\w-]{16,}|\bAIza[\w-]{30,}|\bxox[abeprs]-[\w-]{10,}",
    "a GitHub token": r"\bgh[opsur]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{20,}",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a secret": r"(?i:(?:API_?KEY|ACCESS_KEY(?:_ID)?|SECRET(?:_KEY)?|PASSWORD|(?:AUTH|HF)_TOKEN)"
    r"""\b['"\\]*\s*[=:]\s*['"\\]*[\w.~+/-]{6,})""",
    "a token of a page": r"#t=[0-9a-fA-F]{8,}",
    "a bearer token": r"(?i:\bbearer\s+[\w.~+/-]{16,})|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a password in an address": r"\b\w+://[^\s/:@\"']+:[^\s/:@\"']{3,}@",
    "an address of files": r"\b(?:file|s3a?|gs|gcs|az|abfss?|hdfs|dbfs)://[^\s\"'<>]+",
    "a network path": r"(?<![\w\\])\\\\(?:\\\\)?[\w.-]+\\{1,2}[\w.$-]+",
    "a home folder": r"(?<![\w.])/(?:home|Users|root)/[\w.+-]+"
    r"|\b[A-Za-z]:\\{1,2}Users\\{1,2}[\w.+-]+",
}
_PRIVATE: Final = re.compile("|".join(f"({pattern})" for pattern in _KINDS.values()))


def find_private(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and description of every secret and every place in a text."""
    names = [*_KINDS]
    for number, line in enumerate(text.splitlines(), 1):
        for match in _PRIVATE.finditer(line):
            shown = match[0][:_SHOWN] + ("…" if len(match[0]) > _SHOWN else "")
            yield number, f"{names[(match.lastindex or 1) - 1]} ({shown})"


def hide_private(text: str) -> str:
    """Return a text without its secrets and places."""
    return _PRIVATE.sub("[private]", text)


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in parsed JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from texts_in(part)


def private_in_folder(folder: Path, ignored: Iterable[str] = ()) -> list[str]:
    """Return what is private in the texts of a folder: cards, configs, templates."""
    return [
        f"{path.relative_to(folder)}, line {number}: {what}"
        for path in sorted(folder.rglob("*"))
        if path.suffix in _TEXTS and path.name not in (*_VOCABULARIES, *ignored)
        for number, what in find_private(path.read_text("utf-8", "replace"))
    ]


def require_public(found: Sequence[str], what: str, *, allowed: bool) -> None:
    """Raise `UsageError` with what was found in `what`, unless it is `allowed`."""
    if found and not allowed:
        more = f"; {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
        named = f"{'; '.join(found[:MOST_NAMED])}{more}"
        remedy = f"Remove it there, or give {ALLOW} if all of it may be public"
        raise UsageError(f"{what} would tell others what is private: {named}. {remedy}.")

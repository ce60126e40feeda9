"""Choices from a TOML file and from `--set key=value`, under the names of `TrainConfig`.

A run.toml holds the same names as the command line, with underscores; tables may group them as the
reader likes ([data], [optimizer], …), their names mean nothing. What is given later wins: the file,
then `--set` in order, then options of their own.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
from collections.abc import Iterable, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from gpu_runner.config import tables, tokens
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from unfrozen.schema.check import read as read_json

_TYPES: Final[dict[str, Any]] = get_type_hints(TrainConfig)
_PAIRED: Final = ("general", *tables.TABLES)  # tables of the reader's own names
_ELSEWHERE: Final = {  # as other trainers call it → our name
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "per_device_train_batch_size": "micro_batch",
    "batch_size": "micro_batch",
    "gradient_accumulation_steps": "grad_accum",
    "gradient_checkpointing": "checkpointing",
    "max_grad_norm": "clip",
    "max_length": "seq_len",
    "max_seq_length": "seq_len",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warmup",
    "optim": "optimizer",
    "output_dir": "out",
    "dataset": "data",
    "torch_compile": "compile",
}
MOST_DEEP: Final = 8
_TEXTS: Final = re.compile(  # and comments: a dot in them makes no table
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_DEEP_KEY: Final = re.compile(  # tomllib takes a minute for one of 20,000 parts
    rf"""(?<![\w"-])(?:[\w"-]++[ \t]*+\.[ \t]*+){{{MOST_DEEP + 1}}}"""
)
MOST_WHOLE: Final = 10**40
KEYS: Final = tuple(field.name for field in dataclasses.fields(TrainConfig))


def read(path: str) -> dict[str, Any]:
    """The choices of a TOML file. Raises `UsageError`: not there, not TOML, a key that is none."""
    try:
        text = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"--config {path}: it cannot be read ({error.strerror}).") from None
    except (RuntimeError, ValueError) as error:  # no home of that name, a NUL in it
        raise UsageError(f"--config {path}: it cannot be read ({error})") from None
    return parsed(text, f"--config {path}")


def parsed(text: bytes, where: str) -> dict[str, Any]:
    """The same of what lies in one; `where` stands for it in the message."""
    deep = UsageError(f"{where} is nested too deep: tables in it may group, no more.")
    try:
        toml = text.decode("utf-8-sig")
        if _DEEP_KEY.search(_TEXTS.sub('""', toml)):
            raise deep
        data = tomllib.loads(toml)
    except RecursionError:
        raise deep from None
    except ValueError as error:  # not TOML, not UTF-8, a number with thousands of digits
        raise UsageError(f"{where} is not TOML ({error}): correct it.") from None
    found: dict[str, Any] = {}
    for key, value in _flat(data, where):
        if key in found:
            raise UsageError(f"{where}: {key} occurs twice: keep one of them.")
        found[key] = _checked(key, value, where)
    return found


def stored(data: bytes, where: str) -> TrainConfig:
    """The record that a run keeps of its choices, each of its type; bounds are not looked at.

    Raises `UsageError` or `ValueError` for anything else.
    """
    read_ = read_json(data, len(data), where)
    if read_.problem or not isinstance(read_.value, dict):
        raise ValueError(read_.problem or f"{where} must be a JSON object")
    found: dict[str, Any] = {}
    for key, value in read_.value.items():
        may_lack = key in KEYS and type(None) in get_args(_TYPES[key])
        pairs = key in _PAIRED and isinstance(value, list)
        if pairs or (value is None and may_lack):
            found[key] = value
        elif key in KEYS and key not in _PAIRED and _fitted(value, _TYPES[key]) is _WRONG:
            wanted = f"{_words(_TYPES[key])}, not {type(value).__name__}"
            raise ValueError(f"{key} is {_told(value)}; it must be {wanted}")
        else:
            found[key] = _checked(key, value, where)
    return TrainConfig.from_json(found)


def assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """`["lr=1e-5", …]` as choices; a value is read as TOML, and as text where it is none."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair!r} is not key=value: for example --set lr=1e-5.")
        key, value = key.strip(), _value(text.strip())
        if (of_table := tables.one(key)) is not None:
            key, value = of_table[0], {of_table[1]: value}
        key = key.replace("-", "_")
        found = tables.merged(found, {key: _checked(key, value, f"--set {pair}")})
    return found


def _flat(data: Mapping[str, Any], where: str, depth: int = 0) -> Iterable[tuple[str, Any]]:
    for key, value in data.items():
        if not isinstance(value, dict) or key in _PAIRED:
            yield key, value
        elif depth == MOST_DEEP:
            raise UsageError(f"{where} is nested too deep: tables in it may group, no more.")
        else:
            yield from _flat(value, where, depth + 1)


def _value(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text


def _checked(key: str, value: Any, where: str) -> Any:
    """The value in the type of its field. Raises `UsageError` for another type or name."""
    if key not in KEYS:
        near = [_ELSEWHERE[key]] if key in _ELSEWHERE else get_close_matches(key[:80], KEYS, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(KEYS)}."
        shown = f"{key[:80]}{'…' * (len(key) > 80)}" or "an empty name"
        raise UsageError(f"{where}: {shown} is no choice of a run; {hint}")
    if key == "general":
        return _general(value, where)
    if key in tables.TABLES:
        return tables.read(key, value, where)
    if key == "add_tokens" and isinstance(value, str):
        return tokens.listed([value])
    fitted = _fitted(value, _TYPES[key])
    if fitted is _WRONG:
        raise UsageError(f"{where}: {key} is {_told(value)}; it must be {_words(_TYPES[key])}.")
    return fitted


def _told(value: Any) -> str:
    """A value in a message: what is long or deep is cut or named."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, a thousand lists in each other
        return "too long or too deep to be told"
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


def _general(value: Any, where: str) -> Any:
    """A table of files, "none", or what `--general` takes, as pairs of skill and file."""
    if isinstance(value, dict) and all(isinstance(path, str) for path in value.values()):
        value = [f"{name}={path}" for name, path in value.items()]
    elif isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(pair, str) for pair in value):
        raise UsageError(
            f"{where}: general is {_told(value)}; it must be a table of files (skill ="
            " 'file.jsonl'), a list of 'skill=file.jsonl', or 'none'."
        )
    try:
        return parse_general(value) or ()
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def parse_general(pairs: list[str] | None) -> tuple[tuple[str, str], ...] | None:
    """`["math=a.jsonl", …]` from repeated `--general NAME=FILE`; `["none"]` gives no suite at all.

    Raises `UsageError` for anything else, and for a name that occurs twice.
    """
    if not pairs:
        return None
    if pairs == ["none"]:
        return ()
    suites: dict[str, str] = {}
    if "none" in pairs:
        raise UsageError(
            "--general none measures no forgetting, and others are given beside it: drop one."
        )
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not name or not path or "/" in name:
            raise UsageError(
                f"--general {pair!r} is not NAME=FILE: for example --general math=math.jsonl,"
                " or --general none to measure no forgetting."
            )
        if name in suites:
            raise UsageError(f"--general {name}=… occurs twice: give each suite its own name.")
        suites[name] = path
    return tuple(suites.items())


_WRONG: Final = object()


def _fitted(value: Any, kind: Any) -> Any:
    """`value` as `kind`, or `_WRONG`."""
    origin = get_origin(kind)
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        return _WRONG  # no choice is as large, and a float may not hold it
    if origin in (Union, types.UnionType):
        tries = (_fitted(value, choice) for choice in get_args(kind) if choice is not type(None))
        return next((fitted for fitted in tries if fitted is not _WRONG), _WRONG)
    if origin is Literal:
        return value if value in get_args(kind) else _WRONG
    if origin is tuple:
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return tuple(value) if good else _WRONG
    if kind is float and type(value) is int:
        return float(value)
    if kind is str and type(value) is date:  # TOML has dates of its own
        return value.isoformat()
    return value if type(value) is kind else _WRONG


def _words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(k) for k in get_args(kind) if k is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, "a list of texts")

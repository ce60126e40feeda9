"""Settings from a TOML file and from `--set key=value`, under the names of `TrainConfig`.

A run.toml holds the same names as the command line, with underscores; tables may group them as the
reader likes ([data], [optimizer], …), their names mean nothing. What is given later wins: the file,
then `--set` in order, then options of their own. `resolve` fills in the rest: from the demo's
settings when the demo model is trained on its own task, else from the defaults of `schema`.

Two settings are tables by part of the model:

[rates]                     or --set rates.embedding=0.1 --set 'rates.layers.0=0.5'
embedding = 0.1
"layers.0" = 0.5
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from gpu_runner.config.bounds import (
    LONGEST_PATTERN,
    TABLES,
    Pairs,
    check_config,
    check_used,
    processes,
)
from gpu_runner.config.schema import DEMO, INSTRUCT, TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.installed import runs_folder
from unfrozen.plain import read_whole
from unfrozen.schema.check import read as read_json

_TYPES: Final[dict[str, Any]] = get_type_hints(TrainConfig)
_PAIRED: Final = ("general", *TABLES)  # tables whose keys the user chooses
_ELSEWHERE: Final = {  # the name in other trainers → ours
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
MOST_BYTES: Final = 2**20
MOST_DEEP: Final = 8
_TEXTS: Final = re.compile(  # and comments: a dot in them makes no table
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_DEEP_KEY: Final = re.compile(  # tomllib takes a minute for one of 20,000 parts
    rf"""(?<![\w"-])(?:[\w"-]++[ \t]*+\.[ \t]*+){{{MOST_DEEP + 1}}}"""
)
MOST_WHOLE: Final = 10**40
KEYS: Final = tuple(field.name for field in dataclasses.fields(TrainConfig))


def read_toml(path: str) -> dict[str, Any]:
    """Return the settings of a TOML file. Raises `UsageError`: missing, not TOML, unknown key."""
    try:
        text = read_whole(Path(path).expanduser(), MOST_BYTES, links=True)
    except OSError as error:
        raise UsageError(f"--config {path}: it cannot be read ({error.strerror}).") from None
    except (RuntimeError, ValueError) as error:  # no home of that name, a NUL in it
        raise UsageError(f"--config {path}: it cannot be read ({error})") from None
    return parse_toml(text, f"--config {path}")


def parse_toml(text: bytes, where: str) -> dict[str, Any]:
    """Return the settings in the text of one; `where` names it in messages."""
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
        if key == "trust_remote_code" and value:
            raise UsageError(f"{where}: no file says what is trusted: type --trust-remote-code.")
        found[key] = _checked(key, value, where)
    return found


EARLIER: Final = {
    "kl": 0.0,
    "kl_on": "replay",
    "replay_prompts": None,
    "layer_decay": 1.0,
    "neftune_alpha": 0.0,
    "compile": None,
}
"""Settings and values that earlier versions had, as they were in runs that did not use them."""


def load_record(data: bytes, where: str) -> TrainConfig:
    """Return the settings in a run's config.json, each of its type; bounds are not checked.

    Raises `UsageError` or `ValueError` for anything else.
    """
    read_ = read_json(data, len(data), where)
    if read_.problem or not isinstance(read_.value, dict):
        raise ValueError(read_.problem or f"{where} must be a JSON object")
    found: dict[str, Any] = {}
    for key, value in read_.value.items():
        if (key, value) in EARLIER.items():
            continue
        may_lack = key in KEYS and type(None) in get_args(_TYPES[key])
        pairs = key in _PAIRED and isinstance(value, list)
        if pairs or (value is None and may_lack):
            found[key] = value
        elif key in KEYS and key not in _PAIRED and _fitted(value, _TYPES[key]) is _WRONG:
            wanted = f"{_describe_type(_TYPES[key])}, not {type(value).__name__}"
            raise ValueError(f"{key} is {_format_value(value)}; it must be {wanted}")
        else:
            found[key] = _checked(key, value, where)
    return TrainConfig.from_json(found)


def parse_assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """Return `["lr=1e-5", …]` as settings; a value is read as TOML, else as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair!r} is not key=value: for example --set lr=1e-5.")
        key, value = key.strip(), _value(text.strip())
        if (of_table := _table_pattern(key)) is not None:
            key, value = of_table[0], {of_table[1]: value}
        key = key.replace("-", "_")
        found = merge_settings(found, {key: _checked(key, value, f"--set {pair}")})
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
    """Return the value in the type of its field. Raises `UsageError` for another type or name."""
    if key not in KEYS:
        near = [_ELSEWHERE[key]] if key in _ELSEWHERE else get_close_matches(key[:80], KEYS, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"settings are {', '.join(KEYS)}."
        shown = f"{key[:80]}{'…' * (len(key) > 80)}" or "an empty name"
        raise UsageError(f"{where}: {shown} is not a setting of a run; {hint}")
    if key == "general":
        return _general(value, where)
    if key in TABLES:
        return _read_table(key, value, where)
    if key == "add_tokens" and isinstance(value, str):
        return split_tokens([value])
    fitted = _fitted(value, _TYPES[key])
    if fitted is _WRONG:
        raise UsageError(
            f"{where}: {key} is {_format_value(value)}; it must be {_describe_type(_TYPES[key])}."
        )
    return fitted


def _format_value(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, a thousand lists in each other
        return "too long or too deep to show"
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


def _general(value: Any, where: str) -> Any:
    """Return a table of files, "none", or what `--general` takes, as pairs of skill and file."""
    if isinstance(value, dict) and all(isinstance(path, str) for path in value.values()):
        value = [f"{name}={path}" for name, path in value.items()]
    elif isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(pair, str) for pair in value):
        raise UsageError(
            f"{where}: general is {_format_value(value)}; it must be a table of files (skill ="
            " 'file.jsonl'), a list of 'skill=file.jsonl', or 'none'."
        )
    try:
        return parse_general(value) or ()
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def parse_general(pairs: list[str] | None) -> tuple[tuple[str, str], ...] | None:
    """Return the pairs of repeated `--general NAME=FILE`; `["none"]` gives no suite at all.

    Raises `UsageError` for anything else, and for a name that occurs twice.
    """
    if not pairs:
        return None
    if pairs == ["none"]:
        return ()
    suites: dict[str, str] = {}
    if "none" in pairs:
        raise UsageError(
            "--general none measures no forgetting, but other sets are given too: drop one."
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


def _read_table(key: str, value: Any, where: str) -> Pairs:
    """Return a table of TOML as pairs. Raises `UsageError` for anything else."""
    if not isinstance(value, dict):
        raise UsageError(
            f"{where}: {key} must be a table of parts and numbers: {key}.embedding = 0.1."
        )
    found: dict[str, float] = {}
    for pattern, number in _flat_patterns(value):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UsageError(
                f"{where}: {key}.{pattern[:80]} must be a number, not {type(number).__name__}."
            )
        found[pattern] = math.inf if number > 10**40 else float(number)
    return tuple(found.items())


def _flat_patterns(
    value: Mapping[str, Any], before: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Join keys that dots without quotes have split into tables."""
    for key, one in value.items():
        if isinstance(one, dict) and depth < LONGEST_PATTERN // 2:
            yield from _flat_patterns(one, f"{before}{key}.", depth + 1)
        else:
            yield f"{before}{key}", one


def _table_pattern(key: str) -> tuple[str, str] | None:
    """Return table and pattern of `rates.embedding`; None for the name of a plain setting."""
    table, dot, pattern = key.partition(".")
    return (table, pattern.strip("\"'")) if dot and table in TABLES else None


def merge_settings(first: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; later ones win, in a table each later pattern, which then stands last."""
    found = {**first, **later}
    for key in TABLES:
        if first.get(key) and later.get(key):
            again = dict(later[key])
            before = tuple(pair for pair in first[key] if pair[0] not in again)
            found[key] = (*before, *later[key])
    return found


def split_tokens(given: Iterable[str]) -> tuple[str, ...]:
    """Return `["<a>,<b>", "<c>"]` as ("<a>", "<b>", "<c>"); spaces around commas are ignored."""
    return tuple(one.strip() for text in given for one in text.split(","))


_WRONG: Final = object()


def _fitted(value: Any, kind: Any) -> Any:
    """Return `value` as `kind`, or `_WRONG`."""
    origin = get_origin(kind)
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        return _WRONG  # no setting is as large, and a float may not hold it
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


def _describe_type(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe_type(k) for k in get_args(kind) if k is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, "a list of texts")


def _fitting_batch(
    given: Mapping[str, Any], ranks: int, fixed: int | None = None
) -> dict[str, int]:
    """Return a default micro-batch and accumulation that so many processes can share evenly.

    A step has the sequences of a step on one process where that is possible, and the micro-batch is
    not `fixed`.
    """
    fields = TrainConfig.__dataclass_fields__
    size, times = (
        int(given.get(name, fields[name].default)) for name in ("micro_batch", "grad_accum")
    )
    if times % ranks == 0:
        return {}
    several = -(-times // ranks) * ranks
    return {"grad_accum": several, "micro_batch": fixed or max(1, size * times // several)}


def resolve(options: Mapping[str, Any]) -> TrainConfig:
    """Fill in what `options` leaves out (absent or None) and check every bound.

    Raises `UsageError` with the option, its value, the bound and the remedy.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "model" not in given:
        raise UsageError(
            f"--model is missing: give {DEMO}, a directory, a Hugging Face id, or a .gguf file."
        )
    if "data" not in given and given.get("model") != DEMO:
        raise UsageError(
            f"--data is missing: model {given.get('model')!r} has no task of its own. Give a JSONL"
            f" file, or --data {INSTRUCT} for the instruction examples that ship with it."
        )
    given.setdefault("data", DEMO)
    if DEMO in (given.get("replay"), given.get("fisher_data")):
        from gpu_runner.demo import earlier

        given |= {k: str(earlier()) for k in ("replay", "fisher_data") if given.get(k) == DEMO}
    if given["model"] == DEMO and given["data"] == DEMO:
        from gpu_runner.demo import choices

        given = choices() | given
        if options.get("warmup") is None:
            given["warmup"] = min(given["warmup"], given["steps"])
    if {"steps", "epochs"} <= given.keys():
        if options.get("steps") is not None and options.get("epochs") is not None:
            raise UsageError(
                f"--steps {given['steps']} and --epochs {given['epochs']} both set the length of"
                " the run: give one of them."
            )
        del given["steps"]  # the demo's default yields to the user's --epochs
    if not {"steps", "epochs"} & given.keys():
        given["epochs"] = 1.0
    given.setdefault("runs", str(runs_folder()))
    given.setdefault("today", date.today().isoformat())
    if options.get("grad_accum") is None:
        given |= _fitting_batch(given, max(1, processes()), fixed=options.get("micro_batch"))
    config = TrainConfig(**given)
    check_config(config)
    check_used(options, config)
    return config

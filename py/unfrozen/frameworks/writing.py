"""Commands and the files beside them, written by the tables of trainers (`axolotl.toml`, …).

In a text of `writes`, `$` stands for the word of the key before it and `$name` for the fact of that
name; an option without a value goes. `<name? text>` is there where the fact is. What no plan knows
(the model, the data, the learning rate) is a word in capitals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from unfrozen.frameworks.facts import Facts
from unfrozen.frameworks.formats import Format, Key, read_format
from unfrozen.frameworks.yaml_text import scalar
from unfrozen.shell import typed

_IF: Final = re.compile(r"<(\w+)\? ([^>]*)>")
_OPTION: Final = re.compile(r"((?:--)?([\w.-]*)[ :=])?\$(\w*)")


def write(name: str, facts: Facts) -> str:
    """Return a trainer's command, after the files that it names."""
    form, found = read_format(name), ""
    for path, text in form.writes.items():
        parts = _IF.sub(lambda part: part[2] if facts.get(part[1]) else "", text).splitlines()
        if path == "command":
            filled = (_OPTION.sub(lambda part: _option(form, facts, part), one) for one in parts)
            found += " \\\n  ".join(" ".join(part.split()) for part in filled if part.split())
        else:
            settings = _settings(form, facts, filter(str.strip, parts))
            is_json = path.endswith(".json")
            found += written(path, json.dumps(settings, indent=2) if is_json else yaml(settings))
    return found


def _value(form: Format, facts: Facts, key: str, name: str) -> Any:
    row = Key(name) if name else form.keys[key]
    return row.word(facts.get(row.fact))


def _option(form: Format, facts: Facts, part: re.Match[str]) -> str:
    value = _value(form, facts, part[2], part[3])
    if value is None:
        return ""
    words = value if isinstance(value, (list, tuple)) else [value]
    words = [str(one).lower() if isinstance(one, bool) else str(one) for one in words]
    return f"{part[1] or ''}{' '.join(word.removesuffix('.0') for word in words)}"


def _settings(form: Format, facts: Facts, lines: Any) -> dict[str, Any]:
    """Return the settings of a file, nested by the dots of their keys."""
    found: dict[str, Any] = {}
    for line in lines:
        key, _, word = line.partition(": ")
        value = _value(form, facts, key, word[1:]) if word[:1] == "$" else scalar(word)
        *outer, last = key.split(".")
        inner = found
        if value is not None:
            for each in outer:
                inner = inner.setdefault(each, {})
            inner[last] = value
    return found


def written(path: str, text: str) -> str:
    """Return the command that writes a file, and a line break."""
    return f"cat > {path} <<'END'\n{text}\nEND\n"


def yaml(settings: Mapping[str, Any], indent: str = "") -> str:
    """Return settings as YAML: words, numbers, flags, lists of words, and such settings inside."""
    found = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found.append(f"{indent}{key}:\n{yaml(value, indent + '  ')}")
        elif isinstance(value, (list, tuple)):
            found.append(f"{indent}{key}: [{', '.join(map(str, value))}]")
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found.append(f"{indent}{key}: {text}")
    return "\n".join(found)


_BUILDERS: Final = {".json": "json", ".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}
"""The builder of `datasets.load_dataset` that reads a file, by the file's ending."""
_CHAT: Final = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        **{"role_tag": "role", "content_tag": "content"},
        **{"user_tag": "user", "assistant_tag": "assistant"},
    },
}
"""LLaMA-Factory's name for rows of messages (`data/README.md`)."""


_IN_YAML: Final = ("axolotl", "llama-factory")
_YAML_WORDS: Final = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}


def known_words(framework: str, model: str, data: str) -> dict[str, str]:
    """Return what to write for the MODEL and the DATA of a framework's command, quoted as the shell
    or its file of settings reads it: a file is loaded by its ending, anything else by its name.
    """
    quote = _quote if framework in _IN_YAML else typed
    found = {"MODEL": quote(model), "FILE.jsonl": typed(data)}
    builder = _BUILDERS.get(data[data.rfind(".") :].lower())
    if builder is None:
        return found | {"DATA": quote(data)}
    name = json.dumps(data)
    if framework == "axolotl":
        return found | {"path: DATA": f"path: {name}, ds_type: {builder}"}
    if framework == "unsloth":
        return found | {"--dataset DATA": f"--local-dataset {typed(data)}"}
    if framework == "llama-factory":
        listed = json.dumps({"data": {"file_name": data, **_CHAT}}, indent=2)
        first = "cat > llama_factory.yaml"
        both = {"dataset: DATA": "dataset: data\ndataset_dir: ."}
        return found | both | {first: written("dataset_info.json", listed) + first}
    mixture = written("data.yaml", f"datasets:\n- path: {builder}\n  data_files: {name}")
    launch = "accelerate launch"
    return found | {"--dataset_name DATA": "--config data.yaml", launch: mixture + launch}


def _quote(word: str) -> str:
    """Return a word of YAML, in quotes where it could be read as anything else."""
    plain = re.fullmatch(r"[A-Za-z][\w./-]*", word, re.ASCII) and word.lower() not in _YAML_WORDS
    return word if plain else json.dumps(word)

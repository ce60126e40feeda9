"""Writes the tensors of every family of transformers into families.json.

    PYTHONPATH=py:docs/families python docs/families/derive.py [MODEL_TYPE …]

A family is constructed on symbols (`construct`), again and again with other keys, until every
decision on the way was seen with each outcome that can be brought about; the traces are one program
(`program`). It is written only if it gives names and shapes of transformers' own models for
configs that were not used.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import inspect
import json
import logging
import random
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import derived
import program
import torch
import transformers
from construct import Raw, Steps, Trace, construct, default_config, get
from program import Mismatch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

OUT = Path("families.json")
LAYERS = 6
"""Of the models that are constructed: enough for every kind of layer."""
COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
CHECKS = 12
"""Configs that a family must get right; none of them is traced."""
KINDS = [
    "full_attention",
    "sliding_attention",
    "linear_attention",
    "chunked_attention",
    "attention",
    "mamba",
    "recurrent",
    "moe",
    "mlp",
    "conv",
    "hybrid",
    "dense",
    "sparse",
    "global",
    "local",
]
"""Words for kinds of layers, tried where they occur in the source of a family."""


class Family:
    """One model type, explored."""

    def __init__(self, model_type: str) -> None:
        self.model_type = model_type
        self.mapping = MODEL_FOR_CAUSAL_LM_MAPPING
        classes = CONFIG_MAPPING[model_type], self.mapping[CONFIG_MAPPING[model_type]]
        self.source = "".join(inspect.getsource(sys.modules[c.__module__]) for c in classes)
        self.base = default_config(classes[0])
        for name in COUNTS:
            if isinstance(self.base.get(name), int):
                self.base[name] = LAYERS
        self.model: Steps | None = None
        self.lists: dict[tuple[str, ...], Steps | None] = {}
        self.optional: tuple[tuple[str, ...], ...] = ()
        self.kinds = [kind for kind in KINDS if f'"{kind}"' in self.source]

    def add(self, raw: Raw) -> None:
        """Merge the trace of one config in. Raises `Mismatch`, or what transformers raises."""
        trace = construct(self.model_type, copy.deepcopy(raw), self.mapping, self.optional)
        model = program.merge(self.model, program.nest(trace.model))
        lists = dict(self.lists)
        for path, items in trace.lists.items():
            lists[path] = _list_rule(trace, items, lists.get(path, []), path in lists)
        self.model, self.lists = model, lists

    def explore(self) -> None:
        """Add configs until no decision is left with an outcome that can still be seen."""
        self.add(self.base)
        self._find_optional()
        tried: set[Any] = set()
        while left := {e: o for e, o in self._decisions().items() if e not in tried}:
            for expression, outcomes in left.items():
                tried.add(expression)
                if len(outcomes) < 2 or expression[0] == "is":
                    self._vary(expression)

    def _decisions(self) -> dict[Any, set[Any]]:
        found = program.decisions(self.model)
        for rule in self.lists.values():
            found |= program.decisions(rule)
        return found

    def _find_optional(self) -> None:
        """Find the keys for which it matters that they are null, which no expression tells."""
        found = []
        for path in _paths(self.base):
            value = get(self.base, path)
            for other in _opposites(value, self):
                with contextlib.suppress(Exception):
                    trace = construct(self.model_type, _with(self.base, path, other), self.mapping)
                    try:
                        before = program.simplify(self.model or [])
                        both = program.merge(self.model, program.nest(trace.model))
                        differs = len(program.simplify(both)) != len(before)
                    except Mismatch:
                        differs = True
                    if differs:
                        found.append(path)
                    break
        if found:
            self.optional, self.model, self.lists = tuple(found[:4]), None, {}
            self.add(self.base)

    def _vary(self, expression: Any) -> None:
        """Try other values of the keys of a decision until it has another outcome."""
        bases = [self.base]
        for path in self.optional:
            bases += [
                _with(self.base, path, other) for other in _opposites(get(self.base, path), self)
            ][:1]
        for base in bases:
            for path in self._keys(expression):
                for value in self._values(expression, get(base, path), path):
                    with contextlib.suppress(Exception):
                        self.add(_with(base, path, value))
                        if expression[0] != "is" and len(self._decisions()[expression]) > 1:
                            return

    def _keys(self, expression: Any) -> list[tuple[str, ...]]:
        found = program.keys_of(expression)
        for path in self.lists:
            if ("l", *path) in _parts(expression):
                found += [path, *program.keys_of(("", *(self.lists[path] or ())))]
        return found

    def _values(self, expression: Any, value: Any, path: tuple[str, ...]) -> list[Any]:
        """Return other values of a key, those that the decision itself names first."""
        if isinstance(value, bool):
            return [not value]
        if isinstance(value, list) or (value is None and path in self.lists):
            return [
                *([kind] * LAYERS for kind in self.kinds),
                [self.kinds[i % len(self.kinds)] for i in range(LAYERS)] if self.kinds else [],
                *([], [0], [1, 2], [*range(LAYERS)], [1] * LAYERS),
            ]
        if isinstance(value, str):
            named = re.findall(rf'{path[-1]}\W{{1,8}}\[?"(\w+)"', self.source)
            return [*dict.fromkeys((*named, *self.kinds))]
        near = [n + by for n in program.constants_of(expression) for by in (0, 1, -1)]
        if isinstance(value, float):
            return [0.0, 0.5, 1.0, 2.0]
        number = value if isinstance(value, int) else 4
        near += [0, 1, 2, 3, number + 1, 2 * number, number // 2]
        return [n for n in dict.fromkeys(near) if n >= 0 and n != value]

    def entry(self) -> dict[str, Any]:
        """Return what is written of it."""
        config_class = CONFIG_MAPPING[self.model_type]
        return {
            "aliases": dict(config_class.attribute_map),
            "defaults": _plain_keys(self.base) | _published_counts(config_class, self.base),
            "lists": [
                [[*path], _written(rule)] for path, rule in self.lists.items() if rule is not None
            ],
            "model": _written(program.simplify(self.model or [])),
        }


def _list_rule(trace: Trace, items: list[Any], before: Any, is_known: bool) -> Steps | None:
    """Return how a list is derived: in a loop of its length, or always the same; else None."""
    if is_known and before is None:
        return None
    candidates: list[Steps] = []
    for depth, over, turns in _loops(trace.config):
        if len(turns) == len(items):
            made = [
                program.nest([*turn, ("v", item)]) for turn, item in zip(turns, items, strict=True)
            ]
            with contextlib.suppress(Mismatch):
                candidates.append([("for", depth, over, program.merge_turns(made))])
    candidates.append([("v", item) for item in items])
    for rule in candidates:
        try:
            return program.merge(before if is_known else None, rule)
        except Mismatch:
            continue
    return None


def _loops(steps: Steps) -> Iterator[tuple[int, Any, list[Steps]]]:
    for step in steps:
        if step[0] == "for":
            yield step[1:]
            for turn in step[3]:
                yield from _loops(turn)


def _parts(expression: Any) -> Iterator[Any]:
    yield expression
    if isinstance(expression, tuple):
        for part in expression[1:]:
            yield from _parts(part)


def _opposites(value: Any, family: Family) -> list[Any]:
    """Return what to try where it may matter that a key is null, or is not."""
    if value is not None:
        return [None] if not isinstance(value, bool) else []
    kinds = [family.kinds[i % len(family.kinds)] for i in range(LAYERS)] if family.kinds else []
    return [4, 64, kinds, [1] * LAYERS, True, 0.5]


def _paths(raw: Raw, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in raw.items():
        if isinstance(value, dict) and "model_type" in value:
            yield from _paths(value, (*path, name))
        elif name != "model_type":
            yield (*path, name)


def _with(raw: Raw, path: tuple[str, ...], value: Any) -> Raw:
    changed = copy.deepcopy(raw)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def _plain_keys(raw: Raw) -> Raw:
    return {name: value for name, value in raw.items() if _is_json(value)}


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | dict)


def _published_counts(config_class: Any, base: Raw) -> Raw:
    """Return the numbers of layers that were changed for the traces."""
    usual = default_config(config_class)
    return {name: usual[name] for name in COUNTS if name in base}


def _written(value: Any) -> Any:
    """Return a program as JSON: tuples are lists, decisions pairs of outcome and steps."""
    if isinstance(value, dict):
        return [[outcome, _written(steps)] for outcome, steps in value.items()]
    return [*map(_written, value)] if isinstance(value, tuple | list) else value


def check(model_type: str, entry: dict[str, Any], base: Raw, number: int = CHECKS) -> str:
    """Return what is wrong with a family, on random configs; "" if nothing is."""
    draw, right = random.Random(model_type), 0
    for _ in range(number * 12):
        raw = copy.deepcopy(base)
        paths = [*_paths(base)]
        for path in draw.sample(paths, min(len(paths), draw.choice((1, 2, 3, 5)))):
            value = get(base, path)
            if isinstance(value, bool):
                raw = _with(raw, path, not value)
            elif isinstance(value, int):
                others = (value * 2, value + 2, max(value // 2, 1), value * 3, 1, 4, 8)
                raw = _with(raw, path, draw.choice(others))
        try:
            wanted = built(model_type, raw)
        except Exception:  # transformers refuses it
            continue
        try:
            tensors = {t.name: t.shape for t in derived.tensors_of(entry, raw)}
        except derived.NotDerived as error:
            return f"{error} on {_differences(raw, base)}"
        if tensors != wanted:
            return f"{_first_difference(tensors, wanted)} on {_differences(raw, base)}"
        right += 1
        if right == number:
            return ""
    return f"only {right} configs were accepted" if right < number // 2 else ""


def built(model_type: str, raw: Raw) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the model that transformers builds."""
    config_class = CONFIG_MAPPING[model_type]
    with torch.device("meta"):
        model = MODEL_FOR_CAUSAL_LM_MAPPING[config_class](config_class(**copy.deepcopy(raw)))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _differences(raw: Raw, base: Raw) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if base.get(name) != value}


def _first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return f"{len(names)} tensors, {names[0]}: {found.get(names[0])}, not {wanted.get(names[0])}"


def main() -> int:
    """Derive, check and write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="model types; all of transformers without any")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    known = {
        CONFIG_MAPPING[t].model_type: t
        for t in CONFIG_MAPPING
        if CONFIG_MAPPING[t] in MODEL_FOR_CAUSAL_LM_MAPPING
    }
    found: dict[str, Any] = {}
    for model_type in options.types or sorted(known):
        begun = time.monotonic()
        try:
            family = Family(model_type)
            family.explore()
            entry = json.loads(json.dumps(family.entry()))
            problem = check(model_type, entry, family.base)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:200]
        if not problem:
            found[model_type] = entry
        print(
            f"{model_type:28} {time.monotonic() - begun:5.1f} s  {problem or 'exact'}", flush=True
        )
    text = {"transformers": transformers.__version__, "families": found}
    options.out.write_text(json.dumps(text, separators=(",", ":")) + "\n")
    print(f"{len(found)} of {len(options.types or known)} families are exact: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

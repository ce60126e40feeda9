"""Writes the tensors of every family of transformers into families.json.

    PYTHONPATH=py:docs/families python docs/families/derive.py [MODEL_TYPE …]

A family is constructed on symbols (`construct`), again and again with other keys, until every
decision on the way was seen with each outcome that can be brought about; the traces are one program
(`program`). It is written only if it gives names and shapes of transformers' own models for
configs that were not used.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import inspect
import itertools
import json
import logging
import math
import os
import random
import re
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import program
import torch
import transformers
from construct import (
    LEFT_OUT,
    KeyPath,
    Raw,
    Steps,
    Trace,
    config_classes,
    construct,
    declared_type,
    default_config,
    get,
    in_place,
)
from program import Mismatch
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from unfrozen.model import derived

BUDGET = 8.0
"""Seconds of a processor that a family is explored for."""
TURNS = 4
"""Times that a decision is tried of which one outcome alone is known in some place."""
REFINED = 100
"""Most configs that are traced since `check` found its tensors wrong for them."""
_INDEXER: Raw = {"indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 256}
_INDEXER |= {"indexer_budget": 2048, "indexer_compress_ratio": 4}
_ROPE: Raw = {"rope_type": "default", "rope_theta": 10_000.0}
_BY_KIND: Raw = {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}}
NEEDED: dict[str, Raw] = {
    "aya_vision": {"vision_config": {"num_attention_heads": 16}},
    "chameleon": {"vocabulary_map": {"<image>": 8711}},
    "cohere_compass": {"text_config": _BY_KIND},
    "cohere_compass_text": _BY_KIND,
    "dbrx": {"attn_config": {"rope_theta": 10_000.0}, "ffn_config": {"hidden_size": 2048}},
    "deepseek_ocr2": {"text_config": {"mlp_layer_types": ["dense"] + 31 * ["sparse"]}},
    "diffusion_gemma": {
        "text_config": {"num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 704}
    },
    "dots1": {"head_dim": 128, "n_routed_experts": 128, "n_shared_experts": 1},
    "emu3": {"vocabulary_map": {"<image>": 151_646, "<|extra_200|>": 151_847}},
    "gemma4_assistant": {"text_config": {"hidden_size_per_layer_input": 0}},
    "granite4_vision": {"deepstack_layer_map": [[0, 1], [2, 3]], "downsample_rate": "4/8"},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl": {"text_config": {"head_dim": 128}},
    "lfm2_moe": {"layer_types": ["conv"] * 32},
    "ministral": {"head_dim": 128},
    "nemotron": {"head_dim": 128, "num_key_value_heads": 8},
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]},
    "nemotron_h_omni": {"text_config": {"layers_block_type": ["linear_attention", "moe", "mlp"]}},
    "qwen4_exp": {"text_config": _INDEXER},
    "qwen4_exp_text": _INDEXER,
    "reformer": {"is_decoder": True},
}
"""What some classes cannot do without, though they have no default for it."""
LAYERS = 5
"""Of the models that are constructed: enough for every kind of layer."""
COUNTS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "depth"),
    *("decoder_layers", "num_decoder_layers", "num_encoder_layers"),
)
CHECKS = 60
"""Configs that a family must get right, one after the other; none of them is traced."""
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


TIE = "tie_word_embeddings"
Entry = dict[str, Any]


class Family:
    """One model type, explored, as the class of one mapping."""

    def __init__(self, model_type: str, mapping: Any) -> None:
        self.model_type, self.mapping = model_type, mapping
        config_class, whole = CONFIG_MAPPING[model_type], True
        modules = {sys.modules[c.__module__] for c in (config_class, mapping[config_class])}
        self.source = "".join(map(inspect.getsource, modules))
        self.base = _published(model_type)
        _shorten(self.base)
        with contextlib.suppress(Exception):
            built(model_type, self.base, mapping)
            whole = False
        if whole:
            self.base = _published(model_type)
        self.model: Steps | None = None
        self.lists: dict[KeyPath, tuple[Rules, ...]] = {}
        self.optional: set[KeyPath] = {p for p in _paths(self.base) if get(self.base, p) is None}
        self.absent = {p for p in self._undeclared() if get(self.base, p) is None}
        self.optional |= self.absent
        self.keys = [*_paths(self.base), *sorted(self.absent)]
        self.kinds = [kind for kind in KINDS if f'"{kind}"' in self.source]
        self.corpus: list[tuple[Raw, frozenset[Any]]] = []
        self.until = math.inf
        self._built: dict[str, dict[str, tuple[int, ...]] | None] = {}

    def _undeclared(self) -> Iterator[KeyPath]:
        """Yield keys that a model asks for, though no config declares them."""
        names = {*re.findall(r'getattr\(\s*(?:self\.)?\w*config\w*,\s*"(\w+)"', self.source)}
        for cls, path in config_classes(CONFIG_MAPPING[self.model_type], self.base):
            known = {*getattr(cls, "__dataclass_fields__", {}), *cls.attribute_map}
            for name in (names | {*in_place(cls)}) - known - LEFT_OUT:
                if not hasattr(cls, name) and not name.startswith("_"):
                    yield (*path, name)

    def built(self, raw: Raw) -> dict[str, tuple[int, ...]] | None:
        """Return names and shapes of the model that transformers builds, None if it refuses to."""
        key = json.dumps(raw)
        if key not in self._built:
            self._built[key] = None
            with contextlib.suppress(Exception):
                self._built[key] = built(self.model_type, raw, self.mapping)
        return self._built[key]

    def written(self, raw: Raw) -> Raw:
        """Return a config as transformers writes it into a file, {} if it refuses to."""
        with contextlib.suppress(Exception):
            config = CONFIG_MAPPING[self.model_type](**copy.deepcopy(raw))
            found: Raw = json.loads(config.to_json_string(use_diff=False))
            return {name: value for name, value in found.items() if name not in LEFT_OUT}
        return {}

    def add(self, raw: Raw, drops_rules: bool = False) -> None:
        """Merge the trace of one config in; raises `Mismatch`, or what transformers raises.

        A key that is derived in another way than was seen is one that must be given, or a mismatch.
        """
        if time.process_time() > self.until:
            raise TimeoutError(f"{BUDGET} s are over")
        trace = construct(self.model_type, copy.deepcopy(raw), self.mapping, self.optional)
        model = program.merge(self.model, program.nest(trace.model))
        lists, decisions = dict(self.lists), _ifs(trace.config)
        for path, value in trace.lists.items():
            own = [step for step in decisions if step[1][1:] == (("k", *path),)]
            lists[path] = tuple(
                _rules(some, trace, value, before)
                for some, before in zip(
                    ([], own, decisions[:2], decisions),
                    self.lists.get(path, (None,) * 4),
                    strict=True,
                )
            )
            if not any(lists[path]) and path in self.rules() and not drops_rules:
                raise Mismatch(f"{path} is {value}"[:300])
        self.model, self.lists = model, lists
        seen = frozenset(program.decisions(program.nest([*_ifs(trace.config), *trace.model])))
        self.corpus.append((raw, seen))

    def explore(self) -> None:
        """Add configs until no decision is left with an outcome that can still be seen."""
        self.add(self.base)  # which imports what is imported when it is needed
        self._find_optional()
        self.until = time.process_time() + BUDGET
        with contextlib.suppress(Exception):
            self.add(self._ties(()))
        for path in _paths(self.base):
            value = get(self.base, path)
            others = [not value] if path[-1] == TIE else []
            if isinstance(value, str):
                others = [*self.texts(path, value), *self.numbers(path)]
            for other in others:
                with contextlib.suppress(Exception):
                    self.add(_with(self.base, path, other))
        self._flip_together()
        tried: set[Any] = set()
        with contextlib.suppress(TimeoutError):
            while left := {e: o for e, o in self._decisions().items() if e not in tried}:
                for expression, outcomes in left.items():
                    tried.add(expression)
                    if len(outcomes) < 2 or expression[0] == "is":
                        first = next(
                            (raw for raw, seen in self.corpus if expression in seen), self.base
                        )
                        self._vary(expression, [first], partial(self._is_single, expression))
            again = Counter[Any]()
            while left := {e for e in self.assumed() if again[e] < TURNS}:
                for expression in left:
                    found = [raw for raw, seen in self.corpus if expression in seen]
                    turn = again[expression]
                    again[expression] += 1
                    if turn < TURNS - 1:  # else everywhere in the program
                        found = found[-4 * turn :][:4]
                    self._vary(expression, found, partial(self._is_assumed, expression))

    def _flip_together(self) -> None:
        """Add flags that are refused alone, each with another one."""
        flags = [path for path in _paths(self.base) if isinstance(get(self.base, path), bool)]
        flipped = {path: _with(self.base, path, not get(self.base, path)) for path in flags}
        for path, raw in flipped.items():
            for other in flags if self.built(raw) is None else ():
                with contextlib.suppress(Exception):
                    self.add(_with(flipped[other], path, get(raw, path)))

    def _is_single(self, expression: Any) -> bool:
        return len(self._decisions().get(expression, ())) < 2

    def _decisions(self) -> dict[Any, set[Any]]:
        found = program.decisions(self.model)
        for rule in self.rules().values():
            for expression, outcomes in program.decisions(rule).items():
                found.setdefault(expression, set()).update(outcomes)
        return found

    def rules(self) -> dict[KeyPath, Steps]:
        """Return how each key is derived: without decisions where none is needed, else by whether
        it is null, else by the first two, else by all.
        """
        found = {path: next(filter(None, each), {}) for path, each in self.lists.items()}
        return {path: next(iter(rules.values())) for path, rules in found.items() if rules}

    def assumed(self) -> dict[Any, None]:
        """Return the decisions of which one outcome alone is known, and that matter."""
        parts = [program.simplify(self.model or [])]
        parts += [program.simplify(rule) for rule in self.rules().values()]
        matter = _matter(parts)
        found = dict.fromkeys(e for part in parts for e in _assumptions(part))
        return {e: None for e in found if e in matter}

    def _is_assumed(self, expression: Any) -> bool:
        return expression in self.assumed()

    def _find_optional(self) -> None:
        """Find further keys for which it matters that they are null."""
        found, before = set(), program.simplify(self.model or [])
        for path in _paths(self.base):
            value = get(self.base, path)
            if value is None or isinstance(value, bool | str | float):
                continue
            try:
                trace = construct(self.model_type, _with(self.base, path, None), self.mapping)
            except Exception:  # transformers refuses it
                continue
            try:
                both = program.simplify(program.merge(self.model, program.nest(trace.model)))
                differs = both != before
            except Mismatch:
                differs = True
            if differs:
                found.add(path)
        if found:
            self.optional |= found
            self.model, self.lists, self.corpus = None, {}, []
            self.add(self.base)

    def _vary(self, expression: Any, bases: list[Raw], is_open: Callable[[], bool]) -> None:
        """Try other values of the keys of a decision while it `is_open`."""
        for base in bases:
            for path in self._keys(expression):
                for value in self._values(expression, get(base, path), path):
                    try:
                        self.add(_with(base, path, value))
                    except TimeoutError:
                        raise
                    except Exception:  # transformers refuses it, or something else decides
                        continue
                    if expression[0] != "is" and not is_open():
                        return

    def _keys(self, expression: Any) -> list[KeyPath]:
        found = program.keys_of(expression)
        for part in _parts(expression):
            if isinstance(part, tuple) and part[:1] == ("l",):
                path = part[1:]
                found += [path, *program.keys_of(("", *self.rules().get(path, ())))]
        known = [p for p in dict.fromkeys(found) if p[-1] in _parent(self.base, p)]
        return known + [p for p in dict.fromkeys(found) if p in self.absent]

    def _values(self, expression: Any, value: Any, path: KeyPath) -> list[Any]:
        """Return other values of a key, those that the decision itself names first."""
        if expression[0] == "none" and value is not None:
            return [None]
        if expression[0] == "int?":
            return [4] if isinstance(value, list) else [[value, value]]
        if expression[0] == "str?" and (named := self.texts(path, value)):
            return [named] if isinstance(value, str) else named
        if isinstance(value, bool):
            return [not value]
        usual = get(self.base, path)
        if isinstance(value, list) or (value is None and isinstance(usual, list)):
            return [
                *([kind] * LAYERS for kind in self.kinds),
                [self.kinds[i % len(self.kinds)] for i in range(LAYERS)] if self.kinds else [],
                *([], [0], [1, 2], [*range(LAYERS)], [1] * LAYERS),
            ]
        if isinstance(value, str):
            named = [*self.texts(path, value), *self.kinds]
            return [*dict.fromkeys(named), *self.numbers(path)]
        near = [n + by for n in program.constants_of(expression) for by in (0, 1, -1)]
        if isinstance(value, float):
            return [0.0, 0.5, 1.0, 2.0]
        if value is None:
            return self.instead_of_null(path)
        number = value if isinstance(value, int) else 4
        near += [0, 1, 2, 3, number + 1, 2 * number, number // 2]
        return [n for n in dict.fromkeys(near) if n >= 0 and n != value]

    def texts(self, path: KeyPath, value: Any) -> list[str]:
        """Return the texts that the source compares a key with."""
        named = re.findall(rf'{path[-1]}\W{{1,8}}\[?"([\w-]+)"', self.source)
        named += re.findall(rf'"([\w-]+)" in [\w.]*{path[-1]}\b', self.source)
        for found in re.findall(rf'{{[^{{}}]*"{value}"\s*:[^{{}}]*}}', self.source):
            named += re.findall(r'"(\w+)"\s*:', found)
        return [*dict.fromkeys(named)]

    def numbers(self, path: KeyPath) -> list[int]:
        """Return numbers that may stand for a text."""
        declared = declared_type(CONFIG_MAPPING[self.model_type], self.base, path)
        return [4, 64] if re.search(r"\bint\b", declared) else []

    def instead_of_null(self, path: KeyPath) -> list[Any]:
        """Return values of the type that a key is declared with."""
        if path[-1] == TIE:
            return [True]
        declared = declared_type(CONFIG_MAPPING[self.model_type], self.base, path)
        found: list[Any] = []
        named = self.texts(path, None) if re.search(r"\bstr\b", declared) else []
        if "list" in declared or "tuple" in declared:
            kinds = [self.kinds[i % len(self.kinds)] for i in range(LAYERS)] if self.kinds else []
            found += [kinds, [1] * LAYERS] if "str" in declared else [[1] * LAYERS, [4, 8]]
            found += [named] if named else []
        found += named
        for word, values in (("int", [4, 64]), ("bool", [True]), ("float", [0.5])):
            found += values if re.search(rf"\b{word}\b", declared.replace("list[int]", "")) else []
        return found or [4, 64]

    def entry(self) -> dict[str, Any]:
        """Return what is written of it."""
        aliases = _aliases(CONFIG_MAPPING[self.model_type], self.base)
        rules = {p: _canonical(program.simplify(r), aliases) for p, r in self.rules().items()}
        same = {path for path, rule in rules.items() if rule == [("w", ("k", *path))]}
        model = _canonical(program.simplify(self.model or []), aliases)
        matter = _matter([model, *rules.values()])
        model = _renamed(_certain(model, matter), same)
        rules = {p: _renamed(_certain(r, matter), same) for p, r in rules.items() if p not in same}
        used = _derived_in(model) | {p for p in rules if p[-1] in READ}
        while more := {path for one in used & {*rules} for path in _derived_in(rules[one])} - used:
            used |= more
        config_class = CONFIG_MAPPING[self.model_type]
        ties = [["l" if path in rules else "k", *path] for path in self._tied_by()]
        prefix = getattr(self.mapping[config_class], "base_model_prefix", "")
        return {
            "aliases": aliases,
            "base": prefix,
            "tie": ["in", True, ["list", *ties]] if len(ties) > 1 else next(iter(ties), None),
            "defaults": _canonical_keys(_plain_keys(_published(self.model_type)), aliases),
            "inner": _inner_defaults(config_class),
            "lists": [[[*path], _written(rules[path])] for path in sorted(used) if path in rules],
            "model": _written(model),
        }

    def _tied_by(self) -> list[KeyPath]:
        """Return the keys of which each alone makes the head the embedding, none where it always
        or never is. Models of other families have their own.
        """
        paths = [p for p in self.keys if p[-1] == TIE and len(p) < 3]
        inner = (*(f"{name}.".partition("{")[0] for name in _called(self.model)),)
        apart = self.built(self._ties(())) or {}
        alone = {p: self.built(self._ties((p,))) for p in sorted(paths, key=len)}
        own = [name for name in apart if not name.startswith(inner)]
        return [p for p, made in alone.items() if made and any(name not in made for name in own)]

    def _ties(self, paths: tuple[KeyPath, ...]) -> Raw:
        """Return the family's config with these ties alone."""
        raw = self.base
        for path in self.keys:
            if path[-1] == TIE:
                raw = _with(raw, path, path in paths)
        return raw


def _certain(steps: Steps, matter: set[Any]) -> Steps:
    """Return a program with those assumptions alone that concern a decision which matters
    elsewhere: what else can come of the others was refused, or is tried by `check`.
    """
    made: Steps = []
    for step in steps:
        match step:
            case ("!", expression, _) if expression not in matter:
                continue
            case ("if", expression, ways):
                made += _joined(expression, {o: _certain(w, matter) for o, w in ways.items()})
            case ("for", depth, over, body):
                made.append(("for", depth, over, _certain(body, matter)))
            case _:
                made.append(step)
    return made


def _matter(programs: list[Steps]) -> set[Any]:
    """Return the decisions after which one of the programs differs."""
    return {e for each in programs for e in _decided(_certain(each, set()))}


def _decided(steps: Steps) -> Iterator[Any]:
    for step in steps:
        match step:
            case ("if", expression, ways):
                yield expression
                for way in ways.values():
                    yield from _decided(way)
            case ("for", _, _, body):
                yield from _decided(body)


def _joined(expression: Any, ways: dict[Any, Steps]) -> Steps:
    """Return a decision, or the steps of one way where all are the same."""
    first, *others = ways.values()
    return first if all(one == first for one in others) else [("if", expression, ways)]


def _derived_in(value: Any) -> set[KeyPath]:
    """Return the paths of what the config derives that a program reads."""
    if isinstance(value, tuple) and value[:1] == ("l",):
        return {value[1:]}
    inside = value.values() if isinstance(value, dict) else value
    if isinstance(value, tuple | list | dict):
        return {path for one in inside for path in _derived_in(one)}
    return set()


def _called(value: Any) -> Iterator[str]:
    """Yield the names of models of other families in a program."""
    if isinstance(value, tuple) and value[:1] == ("c",):
        yield str(value[1])
    elif isinstance(value, tuple | list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _called(one)


def _shorten(raw: Raw) -> None:
    """Give a config, and those inside it, few layers."""
    counts = {raw[name] for name in COUNTS if isinstance(raw.get(name), int)}
    for name, value in raw.items():
        if name in COUNTS and isinstance(value, int):
            raw[name] = min(LAYERS, value)
        elif isinstance(value, list) and len(value) in counts:
            raw[name] = value[:LAYERS]
        elif isinstance(value, dict) and "model_type" in value:
            _shorten(value)


def _parent(raw: Raw, path: KeyPath) -> Any:
    inner = get(raw, path[:-1])
    return inner if isinstance(inner, dict) else {}


def _ifs(steps: Steps) -> Steps:
    return [step for step in steps if step[0] == "if"]


def _assumptions(steps: Steps) -> Iterator[Any]:
    for step in steps:
        match step:
            case ("!", expression, _):
                yield expression
            case ("if", _, ways):
                for way in ways.values():
                    yield from _assumptions(way)
            case ("for", _, _, body):
                yield from _assumptions(body)


def _renamed(value: Any, same: set[KeyPath]) -> Any:
    """Return a program that reads the keys of `same` as they are."""
    if isinstance(value, dict):
        return {key: _renamed(one, same) for key, one in value.items()}
    if isinstance(value, tuple) and value[:1] == ("l",) and value[1:] in same:
        return ("k", *value[1:])
    if isinstance(value, tuple | list):
        return type(value)(_renamed(one, same) for one in value)
    return value


def _canonical(value: Any, aliases: Mapping[str, Mapping[str, str]]) -> Any:
    """Return a program that reads keys under the names by which the config keeps them."""
    if isinstance(value, dict):
        return {key: _canonical(one, aliases) for key, one in value.items()}
    if isinstance(value, tuple) and value[:1] == ("k",):
        *path, name = value[1:]
        return ("k", *path, aliases.get(".".join(path), {}).get(name, name))
    if isinstance(value, tuple | list):
        return type(value)(_canonical(one, aliases) for one in value)
    return value


def _canonical_keys(raw: Raw, aliases: Mapping[str, Mapping[str, str]], *path: str) -> Raw:
    """Return keys under the names by which the config keeps them."""
    names = aliases.get(".".join(path), {})
    return {
        names.get(key, key): _canonical_keys(value, aliases, *path, key)
        if isinstance(value, dict)
        else value
        for key, value in raw.items()
    }


def _aliases(config_class: Any, raw: Raw) -> dict[str, dict[str, str]]:
    """Return other names of keys, by the path of the config that has them."""
    found = {}
    for cls, path in config_classes(config_class, raw):
        if cls.attribute_map:
            found[".".join(path)] = dict(cls.attribute_map)
    return found


def _published(model_type: str) -> Raw:
    return _joined_keys(default_config(CONFIG_MAPPING[model_type]), NEEDED.get(model_type, {}))


def _joined_keys(raw: Raw, more: Raw) -> Raw:
    """Return the keys of both; in configs inside them too."""
    inner = {n: v for n, v in more.items() if isinstance(raw.get(n), dict)}
    return raw | more | {name: _joined_keys(raw[name], value) for name, value in inner.items()}


def _inner_defaults(config_class: Any) -> Raw:
    """Return defaults of a config that is inside another one, where the outer one's differ."""
    found = {}
    for name, spec in config_class.sub_configs_defaults.items():
        kind = spec.model_type
        if spec.init_kwargs and kind in CONFIG_MAPPING:
            own = default_config(CONFIG_MAPPING[kind])
            found[name] = {key: own.get(key) for key in spec.init_kwargs}
    return found


Rules = dict[tuple[Any, ...], Steps]
"""Programs that may be how a key is derived, each by the loops in which a list is made."""


def _rules(decisions: Steps, trace: Trace, value: Any, before: Rules | None) -> Rules:
    """Return those of the programs `before` that make a value in this trace too, with it."""
    found: Rules = {}
    for loops, known in ({(): None} if before is None else before).items():
        for others, body in _bodies(trace, value):
            if not (loops and others) or loops == others:
                with contextlib.suppress(Mismatch):
                    rule = program.merge(known, program.nest([*decisions, *body]))
                    found.setdefault(loops or others, rule)
    return found


def _bodies(trace: Trace, value: Any) -> Iterator[tuple[tuple[Any, ...], Steps]]:
    """Yield the ways in which a value may be made: as it is, or in one loop or in two of which
    each turn makes an item.
    """
    if not isinstance(value, list):
        yield (), [("w", value)]
        return
    loops = [*_loops(trace.config)]
    for several in (*((one,) for one in loops), *itertools.combinations(loops, 2)):
        if sum(len(turns) for _, _, turns in several) == len(value):
            items = iter(value)
            body = [
                ("for", depth, over, [[*turn, ("v", next(items))] for turn in turns])
                for depth, over, turns in several
            ]
            yield tuple(over for _, over, _ in several), body
    yield ("items",), [("v", item) for item in value]


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


def _written(value: Any) -> Any:
    """Return a program as JSON: tuples are lists, decisions pairs of outcome and steps."""
    if isinstance(value, dict):
        return [[outcome, _written(steps)] for outcome, steps in value.items()]
    return [*map(_written, value)] if isinstance(value, tuple | list) else value


def drawn(draw: random.Random, family: Family, read: set[KeyPath], decides: set[KeyPath]) -> Raw:
    """Return a config that differs from the family's in one to five keys, most of them `read`, or
    in half of those by which the program `decides`.
    """
    raw = copy.deepcopy(family.base)
    most = [path for path in family.keys if path in read] or family.keys
    paths = [path for path in family.keys if path in decides and draw.random() < 0.5]
    if not paths or draw.random() < 0.5:
        paths = [
            draw.choice(most if draw.random() < 0.8 else family.keys)
            for _ in range(draw.choice((1, 2, 3, 5)))
        ]
    flags = [path for path in family.keys if isinstance(get(raw, path), bool)]
    paths += [path for path in flags if draw.random() < 0.2]
    for path in paths:
        if others := others_of(draw, family, path):
            raw = _with(raw, path, draw.choice(others))
    return raw


def others_of(draw: random.Random, family: Family, path: KeyPath) -> list[Any]:
    """Return other values of a key than the family's."""
    value = get(family.base, path)
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        others = [value * 2, value + 2, max(value // 2, 1), value * 3, 1, 4, 8]
        return others + [None] * (path in family.optional)
    if isinstance(value, float):
        return [value / 2, value * 1.5, 1.0]
    if isinstance(value, str):
        return [*family.texts(path, value), *family.numbers(path)]
    if value is None:
        return family.instead_of_null(path)
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [draw.choices([*dict.fromkeys([*value, *family.kinds])], k=len(value))]
    return []


def _expressions(value: Any) -> Iterator[Any]:
    """Yield the expressions of a written program's decisions."""
    if isinstance(value, list):
        if value[:1] == ["if"]:
            yield value[1]
        for one in value:
            yield from _expressions(one)


def _keys_in(value: Any) -> Iterator[KeyPath]:
    if isinstance(value, list):
        if value[:1] in (["k"], ["l"]) and all(isinstance(one, str) for one in value):
            yield (*value[1:],)
        for one in value:
            yield from _keys_in(one)


def refine(family: Family, found: Mapping[str, Entry]) -> tuple[Entry, str]:
    """Return the entry of a family and what is wrong with it, "" if nothing is: configs for which
    it is wrong are traced, until it is right for `CHECKS` others; else the one that was right for
    the most.
    """
    draw = random.Random(family.model_type)
    best: tuple[int, Entry, str] = (-1, {}, "")
    for _ in range(REFINED + 1):
        entry = json.loads(json.dumps(family.entry()))
        problem, raw, right = check(family, entry, found, draw)
        if right > best[0] or not problem:
            best = (right, entry, problem)
        if not problem or raw is None:
            break
        try:
            family.until = math.inf
            family.add(raw, drops_rules=True)
        except Exception as error:
            traced = f"{problem}; traced: {type(error).__name__}: {error}"[:600]
            return best[1], best[2] if best[0] > right else traced
    return best[1:]


class Checked(NamedTuple):
    """What is wrong with a family, "" if nothing is, for which config, and how many were right."""

    problem: str
    config: Raw | None
    right: int


def check(
    family: Family,
    entry: Entry,
    found: Mapping[str, Entry],
    draw: random.Random,
    number: int = CHECKS,
) -> Checked:
    """Return what is wrong with a family: with each key changed alone, as transformers writes it,
    and with several keys changed at random.
    """
    right = 0
    read = {*_keys_in([entry["model"], entry["lists"]])} | {(TIE,)}
    same = random.Random(family.model_type)
    alone = (
        _with(family.base, path, same.choice(others))
        for path in family.keys
        if (others := others_of(same, family, path))
    )
    decides = {*_keys_in([*_expressions([entry["model"], entry["lists"]])])} | {(TIE,)}
    several = (drawn(draw, family, read, decides) for _ in range(number * 12))
    saved = (family.written(raw) for raw in (family.base, *itertools.islice(several, number // 2)))
    for raw in itertools.chain(alone, saved, several):
        wanted = family.built(raw) if raw else None
        if wanted is None:
            continue
        try:
            tensors = {t.name: t.shape for t in derived.tensors_of(entry, raw, found)}
        except derived.NotDerived as error:
            return Checked(f"{error} on {_differences(raw, family.base)}"[:600], raw, right)
        if tensors != wanted:
            first = _first_difference(tensors, wanted)
            return Checked(f"{first} on {_differences(raw, family.base)}"[:600], raw, right)
        right += 1
        if right == number + len(family.keys):
            break
    few = f"only {right} configs were accepted" if right < number // 2 else ""
    return Checked(few, None, right)


def built(model_type: str, raw: Raw, mapping: Any) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the model that transformers builds."""
    config_class = CONFIG_MAPPING[model_type]
    with torch.device("meta"):
        model = mapping[config_class](config_class(**copy.deepcopy(raw)))
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _differences(raw: Raw, base: Raw) -> dict[str, Any]:
    return {".".join(p): get(raw, p) for p in _paths(base) if get(raw, p) != get(base, p)}


def _first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
    return f"{len(names)} tensors, {names[0]}: {found.get(names[0])}, not {wanted.get(names[0])}"


HEADS = (
    auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    auto.MODEL_FOR_MASKED_LM_MAPPING,
    auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
)
"""Which class of a type is taken: the first that there is."""
MORE = ("deberta-v2", "distilbert", "modernbert", "t5", "mt5", "umt5", "mllama_text_model")
"""Types that are read beside those of the first two mappings."""


def mapping_of(name: str) -> Any:
    """Return the mapping that has the class of an entry: "base:TYPE" is a model without a head."""
    base, _, model_type = name.rpartition(":")
    if base:
        return {"base": auto.MODEL_MAPPING, "classifier": SEQUENCES}[base]
    return next((mapping for mapping in HEADS if CONFIG_MAPPING[model_type] in mapping), {})


SEQUENCES = auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


def all_types() -> list[str]:
    """Return the types that have a class of the first two mappings, one for each config class."""
    kinds = {CONFIG_MAPPING[t] for m in HEADS[:2] for t in m._model_mapping}
    return sorted({kind.model_type for kind in kinds} | {*MORE})


READ = (TIE, "layer_types")
"""What is read beside the tensors, where a config derives it."""


class Table(dict[str, Any]):
    """Entries by name, derived when they are asked for, and kept in a folder of files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.open: list[str] = []

    def __missing__(self, name: str) -> Any:
        """Return the entry of a family. Raises `derived.NotDerived` where it has none."""
        kept = self.report(name)
        if kept["problem"]:
            raise derived.NotDerived(f"{name} has no entry: {kept['problem']}")
        self[name] = kept["entry"]
        return kept["entry"]

    def __contains__(self, name: object) -> bool:
        """Return whether a family has an entry that is right."""
        return not self.report(str(name))["problem"]

    def report(self, name: str) -> dict[str, Any]:
        """Return what came of a family, deriving it if nobody did."""
        model_type = name.rpartition(":")[2]
        if model_type not in CONFIG_MAPPING or CONFIG_MAPPING[model_type] not in mapping_of(name):
            return {"problem": f"{name} has no class", "entry": None}
        path = self.folder / f"{name.replace(':', '+')}.json"
        if not path.exists():
            if name in self.open:
                return {"problem": f"{name} contains itself"}
            self.open.append(name)
            try:
                text = json.dumps(self._derived(name))
            finally:
                self.open.remove(name)
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(text)
            part.rename(path)
        return json.loads(path.read_text())  # type: ignore[no-any-return]

    def inner(self) -> list[str]:
        """Return the types of which a model without a head was derived."""
        return sorted(path.stem[5:] for path in self.folder.glob("base+*.json"))

    def _derived(self, name: str) -> dict[str, Any]:
        begun, entry, problem = time.process_time(), None, ""
        try:
            family = Family(name.rpartition(":")[2], mapping_of(name))
            family.explore()
            entry, problem = refine(family, self)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:600]
        seconds = time.process_time() - begun
        print(f"{name:28} {seconds:5.1f} s  {problem or 'exact'}", flush=True)
        return {"entry": entry, "problem": problem, "seconds": round(seconds, 1)}


def main() -> int:
    """Derive, check and write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="model types")
    parser.add_argument("--all", action="store_true", help="all of transformers")
    parser.add_argument("--write", type=Path, help="the file of the table")
    parser.add_argument("--work", type=Path, default=Path(".families"), help="what is done so far")
    parser.add_argument("--recheck", type=Path, help="a written table: mark what is not exact")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(20_000)
    if options.recheck:
        return recheck(options.recheck)
    options.work.mkdir(parents=True, exist_ok=True)
    table = Table(options.work)
    names = all_types() if options.all else options.types
    for name in names:
        claim = options.work / f"{name}.claim"
        with contextlib.suppress(FileExistsError):
            claim.touch(exist_ok=False)
            table.report(name)
    right = [name for name in names if name in table]
    print(f"{len(right)} of {len(names)} families are exact")
    if options.write:
        write(table, names, options.write)
    return 0


def recheck(file: Path) -> int:
    """Check every family of a table on configs drawn anew; mark in it those that are not exact."""
    data, table = json.loads(file.read_text()), derived.table()
    for name in (name for name in table.entries if ":" not in name and name not in table.bounded):
        try:
            family = Family(name, mapping_of(name))
            draw = random.Random(f"{name} again")
            problem = check(family, table.entries[name], table.entries, draw).problem
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"[:200]
        print(f"{name:28} {problem or 'exact'}", flush=True)
        if problem:
            data["bounded"] = sorted({*data["bounded"], name})
            file.write_text(json.dumps(data, indent=1) + "\n")
    return 0


def write(table: Table, names: list[str], out: Path) -> None:
    """Write the entries of families, and of those inside them, into one file."""
    kept = {name: table.report(name) for name in names}
    kept |= {f"base:{name}": table.report(f"base:{name}") for name in table.inner()}
    lines = {
        name: json.dumps(one["entry"], separators=(",", ":"))
        for name, one in kept.items()
        if one["entry"] and (":" not in name or not one["problem"])
    }
    text = "\n".join(f"{name}\t{line}" for name, line in sorted(lines.items()))
    bounded = sorted(name for name in lines if kept[name]["problem"])
    data = {
        "transformers": transformers.__version__,
        "bounded": bounded,
        "without": sorted({*names} - {*lines}),
        "entries": base64.b64encode(zlib.compress(text.encode(), 9)).decode(),
    }
    out.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

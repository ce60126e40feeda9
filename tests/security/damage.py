"""Values as an attacker, a torn disk or another program would write them, from a seed."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any, Final

HOSTILE: Final[list[Any]] = [
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e15, 2**53 - 1, 2**53, 10**25, -(10**25), 1e300),
    *("", " ", "x" * 41, "x" * 300, "x" * 70_000, "NaN", "Infinity", "-Infinity", "nan", "1"),
    *("é" * 20, "😀" * 30, "😀" * 128, "\u202eabc", "\x00", "\x7f", "a\nb", "\ud800", "\udc00x"),
    *("__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "<img src=x>"),
    *([], {}, [[]], [None], {"": 1}, {"__proto__": {"x": 1}}, {"constructor": 1}, ["x"] * 300),
    {"tag": "img", "attrs": {"src": "x", "onerror": "alert(1)"}, "children": []},
    {"b": "x", "1": "y", "a": [], "\ue000": {}, "😀": {}},
    {"x": {"x": {"x": {"x": {"x": {"x": {"x": {"x": {"x": {}}}}}}}}}},
]
KINDS: Final = ("run.start", "metrics", "eval", "alert", "run.end", "dream", "constructor")
TEXTUAL: Final = (
    '{"seq":NaN}', "Infinity", "nul", "", " ", "[", "{", "}" * 40, "[" * 40, '"' * 99, '{"a":1,}',
    "[" * 40 + "]" * 40, '{"a":' * 50 + "1" + "}" * 50, "\ufeff{}", "01", "1e999", "-1e999",
    "1" * 400, "9" * 6000,
    "{'a':1}", '{"a":1}{"b":2}', "[1]", "null", '"text"', "1", '{"kind":"metrics"}',
    '["' + '\\"' * 50 + "[" * 60 + '"]', '"\\ud83d\\ude00"', "\u2028{}", "{}\u00a0", "\t{}\r",
)  # fmt: skip


def damaged(good: dict[str, Any], random_: random.Random) -> dict[str, Any]:
    """A copy of `good` with one to three places of it changed, dropped, added or swapped."""
    value = copy.deepcopy(good)
    for _ in range(random_.randint(1, 3)):
        random_.choice(WAYS)(value, random_)
    return value


def _place(value: Any, random_: random.Random) -> tuple[Any, Any]:
    """A container somewhere inside, and one of its keys."""
    inside = value
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return value, next(iter(value), "empty")
        key = random_.choice(keys)
        if not isinstance(inside[key], dict | list) or not inside[key] or random_.random() < 0.4:
            return inside, key
        inside = inside[key]


def _change(value: Any, random_: random.Random) -> None:
    inside, key = _place(value, random_)
    inside[key] = copy.deepcopy(random_.choice(HOSTILE))


def _drop(value: Any, random_: random.Random) -> None:
    inside, key = _place(value, random_)
    if key in inside or isinstance(inside, list):
        del inside[key]


def _add(value: Any, random_: random.Random) -> None:
    inside, _ = _place(value, random_)
    item = copy.deepcopy(random_.choice(HOSTILE))
    if isinstance(inside, list):
        inside.append(item)
    else:
        inside[random_.choice([text for text in HOSTILE if isinstance(text, str)])] = item


def _rename(value: Any, random_: random.Random) -> None:
    value["kind"] = random_.choice(KINDS)


WAYS: Final[tuple[Callable[[Any, random.Random], None], ...]] = (
    _change,
    _change,
    _drop,
    _add,
    _rename,
)


def torn(text: str, random_: random.Random) -> str:
    """A line with a piece cut out of it, put in twice, or one character changed."""
    start = random_.randrange(len(text) + 1)
    end = min(len(text), start + random_.randint(0, 12))
    way = random_.randrange(4)
    if way == 0:
        return text[:start] + text[end:]
    if way == 1:
        return text[:end] + text[start:]
    if way == 2:
        return text[:start]
    return text[:start] + random_.choice('{}[]",:0-eE\\ \tNx\x00é\ud800') + text[start + 1 :]


def lines(good: list[dict[str, Any]], count: int, seed: int) -> list[str]:
    """So many lines of a log: whole ones, damaged ones and torn ones."""
    random_ = random.Random(seed)
    made = list(TEXTUAL)
    while len(made) < count:
        event = random_.choice(good)
        line = json.dumps(damaged(event, random_), ensure_ascii=random_.random() < 0.7)
        made.append(torn(line, random_) if random_.random() < 0.4 else line)
    return made[:count]

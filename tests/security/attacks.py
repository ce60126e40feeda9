"""What an attacker writes where the page reads: logs, cell output, addresses, pasted configs.

Each attack has a name and is plain data; `tests/browser/test_attacks.py` gives them to a real page.
A new hole gets its payload here, in the family to which its root belongs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

NODES: Final[dict[str, Any]] = {  # objects of the shape of a drawn node, as findings found them
    "img": {"tag": "img", "attrs": {"src": "/owned", "onerror": "owned=1"}, "children": []},
    "iframe": {"tag": "iframe", "attrs": {"srcdoc": "<script>owned=1</script>"}, "children": []},
    "script": {"tag": "script", "attrs": {"src": "assets/owned.js"}, "children": []},
    "style": {"tag": "link", "attrs": {"rel": "stylesheet", "href": "/owned.css"}, "children": []},
    "link": {"tag": "a", "attrs": {"href": "javascript:owned=1"}, "children": ["press me"]},
    "refresh": {
        "tag": "meta",
        "attrs": {"http-equiv": "refresh", "content": "0;url=/owned"},
        "children": [],
    },
    "form": {"tag": "form", "attrs": {"action": "/owned"}, "children": ["token?"]},
    "svg": {"tag": "svg", "attrs": {"onload": "owned=1"}, "children": []},
    "plain": {"tag": "b", "attrs": {"class": "forged"}, "children": ["forged"]},
}
MARKUP: Final = (
    "<img src=/owned onerror=owned=1>",
    "</span><script src=/owned.js></script>",
    "<svg/onload=owned=1>",
    "javascript:owned=1",
    '"><iframe src=/owned>',
    "{{constructor.constructor('owned=1')()}}",
)
NAMES: Final = ("__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "valueOf")
TYPES: Final[tuple[Any, ...]] = (
    None,
    True,
    7,
    -1,
    0.5,
    1e300,
    "",
    [],
    {},
    [["x"]],
    "\ud800",
    "\u202e",
)

HEAD: Final[dict[str, Any]] = {"v": 1, "run": "hostile", "att": 0, "t": 1.0, "rt": 0.1}
PLACES: Final[dict[str, tuple[dict[str, Any], tuple[str, ...]]]] = {
    "alert": ({"kind": "alert", "level": "warn", "text": "t"}, ("level", "text")),
    "sample": (
        {"kind": "sample", "prompt": "p", "text": "t", "when": "before"},
        ("prompt", "text", "when"),
    ),
    "start": (
        {
            "kind": "run.start",
            "model": {"name": "m", "num_parameters": 9},
            "hardware": {"device": "cpu", "processes": 1},
            "data": {"train_rows": 3},
            "plan": {"steps": 9, "lr": [1.0], "lr_steps": [1]},
            "predicted": {"peak_instant": "load", "peak_bytes": 9, "instants": {}},
        },
        ("model", "hardware", "data", "plan", "predicted", "config", "recipe"),
    ),
    "eval": (
        {"kind": "eval", "suite": "task", "loss": 1, "delta": 0, "baseline": 1},
        ("suite", "loss", "delta", "baseline"),
    ),
    "mem": (
        {"kind": "mem", "instant": "load", "components": {"params": 5}, "total_bytes": 5},
        ("instant", "components", "total_bytes"),
    ),
    "metrics": ({"kind": "metrics", "m": {"train/loss": 1.0}}, ("m",)),
    "drift": ({"kind": "drift", "layers": {"layers.0": 0.1}, "total": 0.1}, ("layers", "total")),
    "checkpoint": ({"kind": "checkpoint", "path": "p", "bytes": 1}, ("path", "bytes")),
    "beat": ({"kind": "beat", "expect_next_in": 5.0}, ("expect_next_in", "paused", "heard")),
    "resume": ({"kind": "run.resume", "from_step": 0}, ("from_step",)),
    "end": (
        {"kind": "run.end", "status": "failed", "reason": "r", "summary": {}},
        ("status", "reason", "summary"),
    ),
}


def line(seq: int, event: dict[str, Any]) -> str:
    """One line of a hostile log."""
    return json.dumps(HEAD | {"seq": seq, "step": seq} | event)


def log_lines() -> Iterator[tuple[str, str]]:
    """(name, line): every node, markup, name and type at every place of every kind of event."""
    for place, (event, fields) in PLACES.items():
        for field in fields:
            for name, node in NODES.items():
                yield f"{place}.{field}: {name}", line(1, event | {field: node})
                yield f"{place}.{field}: [{name}]", line(1, event | {field: ["x", [node]]})
            for text in (*MARKUP, *NAMES):
                yield f"{place}.{field}: {text}", line(1, event | {field: text})
            for value in TYPES:
                yield f"{place}.{field}: {value!r}", line(1, event | {field: value})
    for name in (*NAMES, *MARKUP):
        for field in ("m", "layers", "components"):
            kind = {"m": "metrics", "layers": "drift", "components": "mem"}[field]
            more = {"instant": "load", "total_bytes": 1} if kind == "mem" else {"total": 0.1}
            yield f"{field} of {name}", line(1, {"kind": kind, field: {name: 1}} | more)
        yield f"kind {name}", line(1, {"kind": name})
        yield (
            f"instant {name}",
            line(1, {"kind": "mem", "instant": name, "components": {}, "total_bytes": 1}),
        )
        yield f"run {name}", line(1, {"kind": "beat", "run": name})
    for field in ("seq", "att", "t", "step", "v"):
        for value in (*TYPES, 2**53, -(2**60), 1e308, "NaN"):
            yield f"{field} {value!r}", json.dumps(HEAD | {"seq": 1, "kind": "beat", field: value})


def whole_logs() -> Iterator[tuple[str, list[str]]]:
    """(name, lines): logs whose size, length or order is the attack."""
    metrics: dict[str, Any] = {"kind": "metrics", "m": {"train/loss": 1.0}}
    yield "an alert of 5 MB", [line(1, {"kind": "alert", "text": "x" * 5_000_000})]
    yield "a line of 50 MB", ["x" * 50_000_000]
    yield "a line of 20 MB of JSON", ['{"a":"' + "y" * 20_000_000 + '"}']
    yield "nested 100,000 deep", ["[" * 100_000 + "]" * 100_000]
    yield (
        "a summary nested deep",
        [
            line(1, {"kind": "run.end", "status": "failed"})[:-1]
            + ',"summary":'
            + '{"a":' * 30
            + "1"
            + "}" * 31
        ],
    )
    yield "100,000 fields", [line(1, metrics | {f"f{n}": n for n in range(5_000)})]
    yield (
        "10,000 metrics of a step",
        [line(1, {"kind": "metrics", "m": {f"a{n}": 1 for n in range(6_000)}})],
    )
    yield "5,000 names", [line(n, {"kind": "metrics", "m": {f"a/{n}": 1}}) for n in range(1, 5000)]
    yield "5,000 suites", [line(n, PLACES["eval"][0] | {"suite": f"s{n}"}) for n in range(1, 5000)]
    yield (
        "5,000 prompts",
        [line(n, PLACES["sample"][0] | {"prompt": f"p{n}"}) for n in range(1, 5000)],
    )
    yield (
        "5,000 instants",
        [line(n, PLACES["mem"][0] | {"instant": f"i{n}"}) for n in range(1, 5000)],
    )
    yield "5,000 resumes", [line(n, PLACES["resume"][0] | {"att": n}) for n in range(1, 5000)]
    yield "20,000 alerts", [line(n, PLACES["alert"][0]) for n in range(1, 20_000)]
    yield "steps backwards", [line(n, metrics | {"step": 5000 - n}) for n in range(1, 4000)]
    yield "sequence that jumps", [line(2**52, metrics | {"step": 5}), line(2, metrics)]
    yield "another run in the middle", [line(1, metrics), line(2, metrics | {"run": "other"})]
    yield "two starts", [line(n, PLACES["start"][0]) for n in (1, 2)]
    yield "after the end", [line(1, PLACES["end"][0]), line(2, metrics)]
    yield (
        "times of no calendar",
        [line(n, metrics | {"t": t}) for n, t in ((1, 1e300), (2, -5), (3, 1e11))],
    )
    yield (
        "values at the edge",
        [
            line(n, {"kind": "metrics", "m": {"train/loss": v}})
            for n, v in ((1, 1e308), (2, -1e308), (3, "Infinity"), (4, 5e-324))
        ],
    )
    yield (
        "sizes at the edge",
        [
            line(
                n,
                PLACES["mem"][0] | {"components": {"params": 2**53 - 1}, "total_bytes": 2**53 - 1},
            )
            for n in (1,)
        ],
    )
    yield "NUL and controls", ["\x00\x01\x02", '{"run":"\x00"}', "\ufeff{}", "\u2028", "\ud7ff"]


def cell_data() -> Iterator[tuple[str, str, str]]:
    """(name, element, JSON text): tables and plots as a forged worker would send them."""
    table: dict[str, Any] = {"headers": ["a"], "rows": [["x"]], "units": [""], "caption": "c"}
    row = {"label": "l", "data": [1, 2]}
    plot: dict[str, Any] = {
        "title": "t",
        "x_label": "x",
        "y_label": "y",
        "x_data": [1, 2],
        "lines": [row],
    }
    for name, node in NODES.items():
        for field in ("headers", "rows", "units", "caption", "align"):
            for value in (node, [node], [[node]]):
                yield f"table.{field}: {name}", "data-table", json.dumps(table | {field: value})
        for field in ("title", "x_label", "x_data", "lines", "thresholds", "type", "caption"):
            for value in (node, [node]):
                yield f"plot.{field}: {name}", "data-plot", json.dumps(plot | {field: value})
        yield f"label: {name}", "data-plot", json.dumps(plot | {"lines": [row | {"label": node}]})
        yield f"color: {name}", "data-plot", json.dumps(plot | {"lines": [row | {"color": node}]})
    for text in (
        *MARKUP,
        *NAMES,
        "red;background:url(/owned)",
        "url(/owned)",
        "var(--x)",
        "\u202e",
    ):
        yield f"cell {text}", "data-table", json.dumps(table | {"rows": [[text]], "caption": text})
        yield f"header {text}", "data-table", json.dumps(table | {"headers": [text]})
        yield f"color {text}", "data-plot", json.dumps(plot | {"lines": [row | {"color": text}]})
        yield f"type {text}", "data-plot", json.dumps(plot | {"type": text})
        yield f"title {text}", "data-plot", json.dumps(plot | {"title": text, "caption": text})
    for value in (None, 1, "x", [], [[]], {"length": 3}, {"headers": {"length": 9}, "rows": []}):
        yield f"table {value!r}", "data-table", json.dumps(value)
        yield f"plot {value!r}", "data-plot", json.dumps(value)
    huge = {"x_data": [1, 2], "lines": [row | {"data": [1e308, -1e308]}]}
    yield "plot of edges", "data-plot", json.dumps(plot | huge)
    yield "201 columns", "data-table", json.dumps({"headers": ["h"] * 201, "rows": []})
    yield "a cell of 5 MB", "data-table", json.dumps(table | {"rows": [["x" * 5_000_000]]})
    yield "a title of 5 MB", "data-plot", json.dumps(plot | {"title": "x" * 5_000_000})
    yield "10,001 rows", "data-table", json.dumps(table | {"rows": [["x"]] * 10_001})


ADDRESSES: Final = (
    *(f"planner{text}" for text in (MARKUP[0], '"]),[x="', "'>", ".x", "/../", "!", "&a=b")),
    *(f"planner?model={text}" for text in (*MARKUP, *NAMES, "%00", "%ff", "%ED%A0%80")),
    "planner?model=" + "x" * 1_000_000,
    "planner?" + "a=b&" * 101,
    "planner?" + "&" * 100_000,
    "planner?" + "x" * 1_100_000,
    *(f"planner?{name}=1" for name in NAMES),
    "planner?gpus=" + "9" * 5000,
    "planner?price=1e999&tokens=-1",
    "planner?config=" + "%7B" * 30_000,
    "planner?config=" + "%5B" * 30_000,
    "planner?config=%7B%22model_type%22%3A%22%3Cimg%20src%3Dx%3E%22%7D",
    "planner?gpu=<script>owned=1</script>",
)  # fmt: skip
"""Fragments of an address that bring a reader to the planner."""
ELSEWHERE: Final = (
    "decision?" + "a=b&" * 101,
    "decision<img>",
    "decision?model=<img src=x>",
    "t=<img src=x onerror=owned=1>",
    "t=" + "0" * 5000,
    "#" * 5000,
    "%",
    "the-memory-wall%00<svg onload=owned=1>",
    *(f"{name}" for name in NAMES),
    "x" * 1_000_000,
)
"""Fragments that lead nowhere, or to the decision."""


def configs() -> Iterator[tuple[str, str]]:
    """(name, text): what is pasted or dropped in place of a model's config.json."""
    good: dict[str, Any] = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}
    good |= {"num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 100}
    yield "100,000 fields", json.dumps({f"k{n}": n for n in range(100_000)})
    yield "8,000 fields", json.dumps(good | {f"k{n}": n for n in range(8_000)})
    yield "deep lists", "[" * 90_000
    yield "deep objects", '{"a":' * 15_000 + "1" + "}" * 15_000
    yield "not JSON", "<html><script>owned=1</script>"
    yield "NaN", '{"hidden_size": NaN}'
    yield "a list", "[1, 2]"
    yield "a text", '"text"'
    yield "half a character", '{"model_type": "\ud800"}'
    for key in good:
        for value in (None, -1, 0, 1e308, 10**30, "9" * 5000, [], {"__proto__": 1}, MARKUP[0]):
            yield f"{key} {str(value)[:20]}", json.dumps(good | {key: value})

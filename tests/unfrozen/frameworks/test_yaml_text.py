"""The reader of YAML returns what PyYAML does, and refuses what nobody means by a config."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import yaml

from unfrozen.errors import PlanError
from unfrozen.frameworks.yaml_text import MOST_NODES, read_yaml

WORDS = (
    *("a", "yes", "No", "on", "oFF", "~", "null", "", "true", "1e-5", "2e-5", "1.5e-4", "1e+5"),
    *("0x1F", "0o7", "017", "0b", "0b1", "1_000", "-3", "+4", "3.", "-.5", ".5", ".inf", "-.INF"),
    *("12:30", "1:2:3.5", "1.0e+3", "_1", "a: b", "x #y", "- z", "it's", 'say "x"', "a#b", "?b"),
    *(
        "multi\nline",
        "multi\n\nline\n",
        " lead",
        "trail ",
        "  indented\nx\n",
        "x\n  deep\n",
        "x\n\n",
    ),
    *("http://a:b/c", "[x", "{y", "*z", "&w", "!t", "%p", "@q", ":", "a:", "-", "#", "...", "---"),
    *("long " * 30, "tab\tx", "é", "\x07", "\\n", "torch.optim.AdamW", "train[:95%]", "${out}/x"),
)
DOCUMENTS = (
    "%YAML 1.1\n---\na: 1 # one\nb:\n- x\n-   y: 2\n    z: [1, {a: b, c}, 'it''s']\n...\nd: 2\n",
    "a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3\nc: [*base, *base]\nd: &l\n- 1\ne: *l\n",
    "a: >-\n  one\n  two\n\n  three\n    deep\n  four\nb: |2+\n   x\n\nc: |\n  y\n\n\n",
    "a: [\n  one, # first\n  two\n]\nb: {k: v,\n j: 'w\n  x'}\nc: plain\n  goes on\n\n  on\nd: x\n",
    "- - 1\n  - 2\n- a: 1\n  b:\n  - c\n-\n  d: 1\n- # nothing\n- |\n  t\n",
    'a: "x\\ty \\u00e9 \\\n  z"\n"b c": 1\n\'d\': 2\n',
    "model:\n  _component_: torchtune.models.llama3.llama3_8b\n  n: null\nlr: 3e-4\nx: 1e5\n",
    "a: &x {b: 1}\nc:\n  '<<': *x\nd: {\"<<\": *x, <<: *x}\n",
    "---\n",
    "",
    "# only a comment\n",
    "plain text\n over lines\n",
)


class Text(yaml.SafeLoader):
    """PyYAML, but that dates stay text."""


Text.yaml_implicit_resolvers = {
    first: [(tag, each) for tag, each in found if "timestamp" not in tag]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def expected(text: str) -> Any:
    return next(iter(yaml.load_all(text, Text)), None)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def value(draw: random.Random, deep: int = 0) -> Any:
    kind = draw.random()
    if deep > 3 or kind < 0.55:
        numbers = [draw.randint(-5, 10**6), draw.random(), 1e-5, 1e20, math.inf]
        return draw.choice([*draw.sample(WORDS, 6), *numbers, True, False, None])
    if kind < 0.8:
        keys = draw.sample(WORDS, draw.randint(0, 4))
        return {key.strip(): value(draw, deep + 1) for key in keys}
    return [value(draw, deep + 1) for _ in range(draw.randint(0, 4))]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_a_document_is_read_as_pyyaml_reads_it(text: str) -> None:
    assert same(read_yaml(text), expected(text))


def test_hundreds_of_generated_documents_are_read_as_pyyaml_reads_them() -> None:
    draw, read = random.Random(36), 0
    while read < 500:
        made, shared = value(draw), value(draw, 2)
        if isinstance(made, dict) and draw.random() < 0.4:
            made |= {"s1": shared, "s2": shared}
        text = yaml.safe_dump(
            made,
            default_flow_style=draw.choice([True, False, None]),
            default_style=draw.choice([None, None, None, "'", '"', "|", ">"]),
            width=draw.choice([20, 80, 200]),
            indent=draw.choice([2, 3, 4]),
            allow_unicode=draw.random() < 0.5,
            explicit_start=draw.random() < 0.2,
        )
        if "!!" in text or "? " in text:  # refused by name
            continue
        assert same(read_yaml(text), expected(text)), text
        read += 1


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "line", "bound"),
    [
        ("a: !!python/object/apply:os.system ['x']", 1, "tags"),
        ("- x\n- !foo bar", 2, "tags"),
        ("a: [!!int 3]", 1, "tags"),
        (BOMB, 6, f"{MOST_NODES:,}"),
        ("[" * 40 + "]" * 40, 1, "deep"),
        ("".join(f"{'  ' * n}a:\n" for n in range(40)), 33, "deep"),
        ("a: *none", 1, "anchor"),
        ("a: &a [*a]", 1, "anchor"),
        ("a: 1\na: 2", 2, "twice"),
        ("a: b: c", 1, "colon"),
        ("a: [1, 2", 1, "never closed"),
        ("a: 'x", 1, "never closed"),
        ("a: [1]\n   b: 2", 2, "deeper"),
        ("a:\n\tb: 1", 2, "tab"),
        ("? [a]\n: b", 1, "collection"),
        ("a: 1\nb", 2, "no key"),
        ("a: {b: 1}}", 1, "follows"),
        ('a: "\\q"', 1, "escape"),
        ("<<: 3", 1, "merge"),
    ],
)
def test_what_is_no_config_is_refused_by_its_line(text: str, line: int, bound: str) -> None:
    with pytest.raises(PlanError) as refused:
        read_yaml(text)
    assert bound in refused.value.bound
    assert refused.value.remedy
    assert abs(int(refused.value.key.removeprefix("line ")) - line) <= 1

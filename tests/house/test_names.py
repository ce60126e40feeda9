"""A name means one thing: what the trainer writes to a reader, a class to who reads the code."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from house.tree import ROOT, nodes, tracked
from unfrozen import events

JS_CLASS = re.compile(r"^\s*(?:export )?(?:default )?class (\w+)", re.MULTILINE)


def classes(path: Path) -> Iterator[str]:
    """Names of the classes a file of Python or JavaScript defines, those within others too."""
    if path.suffix == ".py":
        yield from (node.name for node in nodes(path) if isinstance(node, ast.ClassDef))
    else:
        yield from JS_CLASS.findall(path.read_text())


def test_every_metric_has_a_label_a_unit_and_a_meaning_of_its_own() -> None:
    for metric in events.METRICS:
        assert metric.label, metric.name
        assert metric.unit, metric.name
        assert metric.meaning.endswith("."), metric.name
    for field in ("name", "label", "meaning"):
        values = [getattr(metric, field) for metric in events.METRICS]
        assert len(set(values)) == len(values), field


def test_a_metric_in_bytes_seconds_or_tokens_a_second_says_so_in_its_name() -> None:
    suffix = {"bytes": "_bytes", "seconds": "_seconds", "tokens/second": "_tokens_per_second"}
    for metric in events.METRICS:
        if metric.unit in suffix:
            assert f"_{metric.name.split('/')[-1]}".endswith(suffix[metric.unit]), metric.name


def test_metric_names_are_a_segment_a_slash_and_a_segment() -> None:
    assert not [name for name in events.METRIC_NAMES if not re.fullmatch(r"[a-z]+/[a-z_]+", name)]


def test_every_kind_instant_and_component_has_words_for_the_reader() -> None:
    for table in (events.KINDS, events.INSTANTS, events.COMPONENTS):
        assert all(table.values())
        assert len(set(table.values())) == len(table)


def test_the_schema_for_the_page_survives_json() -> None:
    assert json.loads(json.dumps(events.schema())) == events.schema()


def test_no_two_classes_have_the_same_name() -> None:
    places: dict[str, list[str]] = {}
    for path in tracked("*.py", "*.js", "*.mjs"):
        if path.relative_to(ROOT).parts[0] in {"py", "web", "build.py"}:
            for name in classes(path):
                places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert len(places) > 200
    assert not {name: found for name, found in places.items() if len(found) > 1}

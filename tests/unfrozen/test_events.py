"""The words both halves speak."""

import json

from unfrozen import events


def test_the_schema_is_plain_data_with_every_name_once() -> None:
    schema = events.schema()
    assert json.loads(json.dumps(schema)) == schema
    names = [metric.name for metric in events.METRICS]
    assert len(set(names)) == len(names) == len(events.METRIC_NAMES)


def test_instants_follow_the_order_of_a_step() -> None:
    assert list(events.INSTANTS) == [
        "load",
        "end_of_forward",
        "backward",
        "end_of_backward",
        "optimizer_step",
    ]


def test_every_word_is_explained() -> None:
    tables = (events.KINDS, events.INSTANTS, events.COMPONENTS)
    assert all(text for table in tables for text in table.values())
    assert not [metric for metric in events.METRICS if not (metric.label and metric.meaning)]


def test_components_stand_in_one_order_and_unknown_ones_come_last() -> None:
    known = list(events.COMPONENTS)
    assert known.index("moments") < known.index("grads") < known.index("activations")
    assert events.in_order(["newer", *reversed(known)]) == [*known, "newer"]


def test_a_series_of_a_gpu_is_called_by_its_number() -> None:
    assert events.metric_of("gpu/power/3") == "gpu/power"
    for name in ("gpu/power", "gpu/power/x", "gpu/power/", "train/loss/3", "gpu/power/3/4"):
        assert events.metric_of(name) == name
    assert events.unknown_metrics({"gpu/power/12": 1.0, "train/loss": 2.0}) == []
    assert events.unknown_metrics(["gpu/speed/1", "a", "gpu/busy/0"]) == ["a", "gpu/speed/1"]

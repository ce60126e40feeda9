"""Diagrams: sizes agree with what `unfrozen` computes, and they can be read without colours."""

import re
from itertools import pairwise

import pytest

from site_builder.blocks import DIAGRAMS
from site_builder.diagrams.forgetting import LEARNED, SHOWN, Point, at_equal_learning, path_of
from site_builder.diagrams.memory import (
    RECOMPUTE_HEIGHT,
    RECOMPUTE_MODEL,
    ZERO_GPUS,
    ZERO_HEIGHT,
    ZERO_PARAMETERS,
    crossing_seconds,
)
from site_builder.diagrams.training import format_number
from site_builder.example_jobs import SECOND_STEP_OOM, tensor_room_bytes
from site_builder.formats import gb
from unfrozen.job import Job
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.classic import states_bytes
from unfrozen.memory.instants import Step
from unfrozen.memory.states import per_gpu_bytes
from unfrozen.number_formats import FORMATS
from unfrozen.plan import plan_job
from unfrozen.plan.timeline import timeline


def attributes(html: str, tag: str, css_class: str) -> list[dict[str, str]]:
    """The attributes of every element of a tag whose class holds this word."""
    found = re.findall(rf"<{tag} ([^>]*)>", html)
    named = [dict(re.findall(r'([\w-]+)="([^"]*)"', given)) for given in found]
    return [given for given in named if css_class in given.get("class", "").split()]


@pytest.mark.parametrize("name", DIAGRAMS)
def test_a_diagram_fits_the_policy_and_has_alternative_text(name: str) -> None:
    html = DIAGRAMS[name]()
    assert " style=" not in html
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert not [found for found in ids if not found.startswith(f"{name}-")]
    assert set(re.findall(r"url\(#([^)]*)\)", html)) <= set(ids)
    for svg in re.findall(r"<svg ([^>]*)>", html):
        silent = "viewBox" in svg or 'aria-hidden="true"' in svg  # part of one, or beside words
        assert silent or re.search(r'role="img" aria-label="[^"]{20,}"', svg)


def test_every_gpu_holds_its_share_under_zero() -> None:
    html = DIAGRAMS["zero"]()
    whole = states_bytes(ZERO_PARAMETERS)
    held = {
        name: sum(per_gpu_bytes(whole, Cluster(gpus=ZERO_GPUS, sharding=name)).values())
        for name in SHARDINGS
    }
    for name in SHARDINGS:
        assert f"<b>{gb(held[name])}</b> on each GPU" in html
    stages = html.split('<li class="zero-stage">')[1:]
    for name, stage in zip(SHARDINGS, stages, strict=True):
        boxes = attributes(stage, "rect", "area")
        drawn = sum(float(box["height"]) for box in boxes) / ZERO_GPUS
        assert drawn / ZERO_HEIGHT == pytest.approx(held[name] / (16 * ZERO_PARAMETERS), abs=0.002)


def test_shared_parts_lie_side_by_side_and_fill_what_they_share_exactly() -> None:
    last = DIAGRAMS["zero"]().split('<li class="zero-stage">')[-1]
    for part in ("c-params", "c-grads", "c-moments"):
        boxes = attributes(last, "rect", part)[:ZERO_GPUS]
        for lower, upper in pairwise(boxes):
            assert float(lower["y"]) == pytest.approx(
                float(upper["y"]) + float(upper["height"]), abs=0.02
            )


def test_the_first_step_fits_the_gpu_and_the_second_does_not() -> None:
    job = Job.read(SECOND_STEP_OOM)
    room, turns = tensor_room_bytes(job), timeline(job)
    assert max(turn.total for turn in turns if turn.step == 1) < room
    dies = next(t for t in turns if t.total > room)
    assert (dies.step, dies.phase) == (2, "forward")
    assert plan_job(job).fits is False
    start = next(t.seconds for t in turns if t.step == 2)
    assert start < crossing_seconds(turns, room) < turns[-1].seconds


def test_the_table_of_a_diagram_agrees_with_the_plan() -> None:
    job = Job.read(SECOND_STEP_OOM)
    held = plan_job(job).instants["end_of_forward"]
    row = DIAGRAMS["step"]().split("Step 2, forward</th>")[1].split("</tr>")[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    assert cells[-1] == gb(sum(held.values()))
    assert gb(held["moments"]) in cells
    assert gb(held["logits_loss"]) in cells


def test_the_height_of_a_layer_is_its_share_of_saved_bytes() -> None:
    html = DIAGRAMS["recompute"]()
    rows = html.split('<div class="recompute-row">')[1:]
    for kind, row in zip(("none", "selective", "full"), rows, strict=True):
        part = Step(RECOMPUTE_MODEL.model, Recipe.read({"checkpointing": kind})).micro_batch
        kept = attributes(row, "rect", "area")
        assert len(kept) == 16
        for bar in kept:
            tall = float(bar["height"]) / RECOMPUTE_HEIGHT
            assert tall == pytest.approx(part.kept / part.layer, abs=0.001)
        again = [bar for bar in attributes(row, "rect", "again") if "x" in bar]
        assert len(again) == (kind != "none")


def test_every_bit_of_every_format_is_drawn() -> None:
    rows = DIAGRAMS["formats"]().split("<tbody")[1].split("</tr>")
    for found, row in zip(FORMATS, rows, strict=False):
        assert f">{found.name}</th>" in row
        paths = re.findall(r'class="bit-(\w+)" d="(.*?)"', row)
        cells = {name: path.count("M") for name, path in paths}
        expected = {"sign": 1, "exponent": found.exponent_bits, "mantissa": found.mantissa_bits}
        assert cells == expected
        assert format_number(found.largest) in row
        ticks = attributes(row, "line", "tick")
        assert not ticks or f"{len(ticks)}\u00a0numbers" in row


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (448, "448"),
        (65504, "65,504"),
        (2e-5, "2\u00a0×\u00a010⁻⁵"),
        (3.4028e38, "3.4\u00a0×\u00a010³⁸"),
        (0.015625, "0.0156"),
    ],
)
def test_numbers_of_any_size_are_short(value: float, words: str) -> None:
    assert format_number(value) == words


def test_methods_are_compared_where_their_path_first_reaches_the_level() -> None:
    path = [Point(0, 0, 1), Point(20, LEARNED / 2, 0.9), Point(40, LEARNED * 1.5, 0.7)]
    assert at_equal_learning([*path, Point(60, 1, 0.5)]) == pytest.approx((30, LEARNED, 0.8))
    assert at_equal_learning(path[:2]) is None


def test_every_method_of_the_frontier_has_a_path_a_name_and_a_row() -> None:
    html = DIAGRAMS["frontier"]()
    lines = attributes(html, "polyline", "frontier-path")
    assert len(lines) == len(SHOWN) + 1  # the way back
    for _, label in SHOWN:
        assert html.count(f">{label}</") == 2  # beside its path, and in the table
    for name, _ in SHOWN:
        assert at_equal_learning(path_of(name)) is not None

"""What is trained, as the page takes it out of a log and draws it."""

import json
import re
from html import unescape
from typing import Any

import pytest

from run.example_events import ROW, row, scored, told
from run.javascript import JavaScript
from unfrozen.schema import read_event

SEEN = """
const run = emptyRun();
input.forEach((event, seq) => fold(run, parseEvent(JSON.stringify(
  { run: "r", seq, att: 0, t: 1, step: 0, kind: "rows", ...event }))));
const node = examplesView(run.rows, 480);
return { rows: run.rows, refused: run.refusals, html: node && toHtml(node) };
"""


def seen(js: JavaScript, *events: dict[str, Any]) -> dict[str, Any]:
    """The rows of a run of these events, and the panel."""
    found: dict[str, Any] = js(SEEN, list(events))
    return found


def text_of(html: str) -> str:
    """What a person reads of it."""
    return unescape(re.sub(r"<[^>]*>", "", html)).replace("\u00a0", " ")


def test_a_log_without_rows_has_no_panel(js: JavaScript) -> None:
    found = seen(js, {"kind": "metrics", "m": {}})
    assert (found["rows"], found["html"]) == (None, None)


def test_what_is_reported_later_is_added_to_what_was_reported_first(js: JavaScript) -> None:
    found = seen(js, told(), scored())
    assert found["refused"] == []
    assert found["rows"] == told() | scored()
    newer = seen(js, told(), {"counts": {"rows": 7}})["rows"]
    assert (newer["counts"], newer["how"]) == ({"rows": 7}, told()["how"])


def test_the_panel_says_what_is_trained_and_what_is_special(js: JavaScript) -> None:
    said = text_of(seen(js, told(), scored())["html"])
    for words in (
        "1080of 1200 read",
        "30%9000 tokens",
        "Answers end with<|end|>1079 examples",
        "4 examples are truncated: 120 tokens at the end are lost, most at rows.jsonl:8 (90 tokens,"
        " 70 of its answer), rows.jsonl:3 (12 tokens, 0 of its answer).",
        "2 examples are dropped, without a token that is trained: rows.jsonl:5 (all 31 tokens of"
        " its answer truncated), rows.jsonl:6 (no answer).",
        "3 examples are duplicated, token for token; the first: rows.jsonl:9.",
        "1 example ends without a stop token: the model does not learn to stop there.",
        "2 examples: an answer is empty, so that only its end token is trained; the first: rows",
        "… 40 tokens before",
        "… 482 tokens more",
        "540 tokens, 8 trained, 12 more truncated",
        "the median is 26, the 90th percentile 90",
        "29% of the computed tokens would be padding; this run packs",
        "9.250 nats",
        "2.347 nats per trained token on average",
        "1 token, 1 trained",
    ):
        assert words in said


def test_rows_without_fault_are_said_to_have_none(js: JavaScript) -> None:
    clean = told() | {"counts": {"rows": 2, "read": 2, "tokens": 9, "trained": 3}}
    said = text_of(seen(js, clean)["html"])
    assert "Every example is complete, ends with a stop token and occurs once." in said


def test_trained_tokens_stand_in_brackets_for_who_does_not_see_lines(js: JavaScript) -> None:
    said = text_of(seen(js, {"first": [row("a b")]})["html"])
    assert "[a b ]" in said
    assert "[end: " in said


def test_tokens_of_one_character_are_shown_as_one(js: JavaScript) -> None:
    html = seen(js, {"first": [ROW]})["html"]
    assert '<span class="run-token">😀<sub>3 tokens</sub></span>' in html
    assert html.count('class="run-token"') == sum(len(p["texts"]) for p in ROW["parts"]) - 2 + 3


SHOWN = "return toHtml(h('p', null, revealHidden(input)));"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("a\u202eb", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("a\u200bb", "U+200B"),
        ("a\u200db", "U+200D"),
        ("a\x00b", "U+0000"),
        ("a\x1bb", "U+001B"),
        ("a\u00a0b", "U+00A0"),
        ("a\u00adb", "U+00AD"),
        ("a\u3164b", "U+3164"),
        ("a\U000e0041b", "U+E0041"),
        ("a\U000e0100b", "U+E0100"),
        ("a\ue000b", "U+E000"),
    ],
)
def test_what_cannot_be_seen_or_turns_text_around_is_reported_by_its_number(
    js: JavaScript, text: str, number: str
) -> None:
    html = js(SHOWN, text)
    assert f'a<span class="run-sign run-sign-number faint">{number}</span>b' in html


@pytest.mark.parametrize(
    "text",
    ["می\u200cخواهم", "क्\u200dष", "👩\u200d👩\u200d👧", "❤\ufe0f", "é e\u0301 ß", "한글 漢字 かな"],
)
def test_letters_of_every_script_stay_as_they_are(js: JavaScript, text: str) -> None:
    assert js(SHOWN, text) == f"<p>{text}</p>"


def test_a_line_break_is_seen_and_breaks_the_line(js: JavaScript) -> None:
    assert text_of(js(SHOWN, "a\n\tb")) == "a⏎\n→\tb"


def test_text_of_rows_is_never_markup(js: JavaScript) -> None:
    evil = "<img src=x onerror=alert(1)>"
    rows = {
        "how": evil,
        "repeated_first": evil,
        "counts": {"rows": 1, "repeated": 1, evil: 2},
        "notes": [{"text": evil, "rows": 1, "first": evil}],
        "ends": [{"text": evil, "rows": 1}],
        "first": [row(evil, place=evil)],
    }
    html = seen(js, rows)["html"]
    assert "<img" not in html
    assert html.count("&lt;img") >= 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": [{**ROW, "parts": [{"as": "script", "texts": ["a"]}]}]},
        {"first": [{**ROW, "parts": [{"as": "read", "texts": [{"tag": "img"}]}]}]},
        {"first": [ROW] * 17},
        {"first": [{**ROW, "tokens": -1}]},
        {"trained_ratio": 2},
        {"lengths": {**told()["lengths"], "rows": [1]}},
        {"padding": {"ratio": 0.5}},
        {"scored": {"rows": 1}},
        {"counts": {"rows": 1.5}},
    ],
)
def test_what_is_not_of_its_shape_is_refused_in_both_languages(
    js: JavaScript, wrong: dict[str, Any]
) -> None:
    event = {"run": "r", "seq": 0, "att": 0, "t": 1, "step": 0, "kind": "rows", **wrong}
    refused = seen(js, wrong)["refused"]
    assert refused == [read_event(event).problem]
    assert refused != [""]


def test_a_panel_of_little_is_drawn_all_the_same(js: JavaScript) -> None:
    for little in ({"counts": {}}, {"lengths": {**told()["lengths"], "from": [], "rows": []}}, {}):
        assert "What is trained" in seen(js, little)["html"]


def test_a_template_and_held_out_examples_that_are_trained_are_named(js: JavaScript) -> None:
    given = {**told(), "template_ratio": 0.125, "held_out": {"rows": 40, "trained": 3}}
    panel = "return toHtml(examplesView(input, 480));"
    text = js(panel, given)
    assert "12.5%" in text
    assert "of the tokens are its own" in text
    assert "3 examples are held out and trained as well, token for token" in text
    clean = js(panel, given | {"held_out": {"rows": 40, "trained": 0}})
    assert "none of them trained" in clean
    assert "as well" not in clean


READ = """
  const file = new File([input.text], input.name, { lastModified: 1000 });
  const event = await readDataReport(file);
  return event && fold(emptyRun(), event).rows;"""


def report(**more: Any) -> str:
    return json.dumps({**told(), **scored(), "file": "x.jsonl", "model": "m", **more})


def test_what_unfrozen_data_prints_is_the_panel_of_no_run(js: JavaScript) -> None:
    padding = {"ratio": 0.25, "sequences": 2}
    text = report(held_out=None, template_ratio=0.0, padding=padding)
    rows = js(READ, {"name": "data.json", "text": text})
    assert rows["counts"] == told()["counts"]
    assert rows["how"].endswith("template; x.jsonl, as m reads it")
    assert "held_out" not in rows
    html = js("return toHtml(examplesView(input, 480));", rows)
    assert "packing computes none of it, in at most 2 sequences a step" in html


def test_a_long_report_is_cut_to_what_is_drawn(js: JavaScript) -> None:
    long = {"as": "trained", "texts": ["a"] * 3000}
    rows = [row("x", parts=[long, long], after=5, place=f"{n}") for n in range(40)]
    found = js(READ, {"name": "data.json", "text": report(first=rows)})["first"]
    assert [one["place"] for one in found] == [f"{n}" for n in range(16)]
    assert [len(part["texts"]) for part in found[0]["parts"]] == [1024]
    assert found[0]["after"] == 5 + 6000 - 1024


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("trainer_state.json", '{"log_history": []}'),
        ("data.json", "[1, 2]"),
        ("data.json", "null"),
        ("data.json", '{"file": "a", "model":'),
        ("events.jsonl", report()),
    ],
)
def test_other_files_are_no_report(js: JavaScript, name: str, text: str) -> None:
    assert js(READ, {"name": name, "text": text}) is None


def test_a_report_that_is_none_says_why(js: JavaScript) -> None:
    body = f"try {{ {READ} }} catch (error) {{ return error.message; }}"
    said = js(body, {"name": "data.json", "text": report(trained_ratio=7)})
    assert said.startswith("data.json is no answer of unfrozen data --json: ")
    assert "trained_ratio" in said

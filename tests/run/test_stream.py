"""The page's reader, run by Node against the real server and against a wire that misbehaves."""

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from run.javascript import JavaScript
from slowness import slowness

PARSE = """
const parser = new SseParser();
return input.flatMap((bytes) => parser.push(new Uint8Array(bytes)));
"""


def parse(js: JavaScript, pieces: list[bytes]) -> Any:
    return js(PARSE, [list(piece) for piece in pieces])


def test_frames_have_the_id_and_the_line(js: JavaScript) -> None:
    wire = b': writer yes\n\nid: 40\ndata: {"a":1}\n\nid: 95\r\ndata: {"b":2}\r\n\r\n'
    assert parse(js, [wire]) == [
        {"comment": "writer yes"},
        {"id": 40, "data": '{"a":1}'},
        {"id": 95, "data": '{"b":2}'},
    ]


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 200), max_size=30), seed=st.integers(0, 99))
def test_however_the_bytes_are_cut_the_frames_are_the_same(
    js: JavaScript, cuts: list[int], seed: int
) -> None:
    chosen = random.Random(seed)
    texts = ["".join(chosen.choice("aü€🌱 :") for _ in range(20)) for _ in range(8)]
    wire = "".join(
        f"id: {n}\ndata: {json.dumps(text)}\n\n" for n, text in enumerate(texts)
    ).encode()
    places = [0, *sorted({cut for cut in cuts if cut < len(wire)}), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(places)]
    assert parse(js, pieces) == parse(js, [wire])


def test_a_frame_without_its_empty_line_is_not_taken(js: JavaScript) -> None:
    assert parse(js, [b"id: 7\ndata: {}\n"]) == []


# A wire that ends after a few bytes, again and again, at every possible place.
BROKEN_WIRE = """
const lines = input.lines.map((line) => new TextEncoder().encode(line + "\\n"));
const ends = lines.reduce((all, line) => [...all, (all.at(-1) ?? 0) + line.length], []);
const size = ends.at(-1);
let cut = 1;
const asked = [];
const answerFrom = async (url) => {
  const after = Number(new URL(url, "http://x/").searchParams.get("after"));
  asked.push(after);
  if (after === size) return new Response(null, { status: 204 });
  if (after !== 0 && !ends.includes(after)) return new Response(null, { status: 400 });
  const frames = lines.map((line, n) => ends[n] > after
    ? `id: ${ends[n]}\\ndata: ${new TextDecoder().decode(line).trim()}\\n\\n` : "").join("");
  const wire = new TextEncoder().encode(": writer yes\\n\\n" + frames);
  const bytes = wire.slice(0, (cut += input.stride));
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(bytes);
      if (input.abrupt) setTimeout(() => controller.error(new TypeError("network error")), 1);
      else controller.close();
    },
  });
  return new Response(body, { status: 200 });
};
hurry();
const run = emptyRun();
const states = [];
await followLines({
  url: "events", token: "t", signal: new AbortController().signal, fetch: answerFrom,
  onLines: (lines) => lines.forEach(({ data }) => fold(run, parseEvent(data))),
  onState: (state) => states.push(state), onWriter() {}, onRestart() { states.push("restart"); },
});
return { run, states: [...new Set(states)], asked, last: states.at(-1) };
"""


@pytest.mark.parametrize("abrupt", [True, False])
@pytest.mark.parametrize("stride", [7, 61, 1000])
def test_a_connection_cut_anywhere_costs_nothing_and_repeats_nothing(
    js: JavaScript, abrupt: bool, stride: int
) -> None:
    kinds = ["metrics"] * 14 + ["run.end"]
    more = {"att": 0, "m": {"train/loss": 1}, "status": "finished"}
    lines = [
        json.dumps({"run": "r", "seq": n, "kind": kind, "step": n, "t": n} | more)
        for n, kind in enumerate(kinds)
    ]
    answer = js(BROKEN_WIRE, {"lines": lines, "abrupt": abrupt, "stride": stride})
    run = answer["run"]
    assert (run["lastSeq"], run["gaps"], run["duplicates"]) == (14, 0, 0)
    assert run["series"]["train/loss"]["x"] == list(range(14))
    assert answer["asked"] == sorted(answer["asked"])
    assert answer["last"] == "over"
    assert "restart" not in answer["states"]


STATUSES = """
const seen = [];
const statuses = [...input];
const stop = new AbortController();
hurry();
await followLines({
  url: "events", token: "t", signal: stop.signal,
  fetch: async () => {
    const status = statuses.shift();
    if (status === undefined) { stop.abort(); throw new TypeError("Failed to fetch"); }
    if (status === 0) throw new TypeError("Failed to fetch");
    const frames = ': size 29\\n\\nid: 9\\ndata: {"seq":0,"kind":"beat"}\\n\\n';
    return new Response(status === 200 ? frames : null, { status });
  },
  onLines: (lines) => { seen.push(`${lines.length} event`); },
  onState: (state) => seen.push(state), onWriter() {}, onRestart: () => seen.push("restart"),
  onSize: (unread, read) => seen.push(`${read} of ${unread + read} bytes`),
});
return seen;
"""


READ = ["1 event", "9 of 29 bytes"]


@pytest.mark.parametrize(
    ("statuses", "seen"),
    [
        ([204], ["connecting", "over"]),
        ([401], ["connecting", "refused"]),
        ([403], ["connecting", "refused"]),
        ([404], ["connecting", "missing"]),
        ([0, 0, 204], ["connecting", "gone", "gone", "over"]),
        (
            [503, 200, 204],
            ["connecting", "gone", "back", *READ, "gone", "over"],
        ),
        (
            [200, 400, 204],
            ["connecting", "live", "1 event", "9 of 29 bytes", "gone", "restart", "gone", "over"],
        ),
    ],
)
def test_every_answer_of_the_server_leads_to_its_state(
    js: JavaScript, statuses: list[int], seen: list[str]
) -> None:
    assert js(STATUSES, statuses) == seen


REPLAY = """
const run = emptyRun();
let batches = 0;
const take = (events, skipped) => {
  batches += 1;
  events.forEach((event) => fold(run, event));
  run.skippedLines += skipped;
};
await readLog(new Blob([input]), take, new AbortController().signal);
return { run, batches };
"""


def test_a_dropped_file_goes_through_the_same_fold_and_counts_its_damage(js: JavaScript) -> None:
    head = {"run": "r", "att": 0, "t": 1, "kind": "metrics", "m": {}}
    lines = [json.dumps(head | {"seq": n, "step": n}) for n in range(3)]
    text = "\n".join([*lines, '{"seq":3,"ki', "[]", "", lines[0]])
    answer = js(REPLAY, text)
    assert (answer["run"]["events"], answer["run"]["skippedLines"]) == (3, 2)
    (refusal,) = answer["run"]["refusals"]
    assert refusal.startswith("the line is a list of 0; it must be an object with run, seq")


@pytest.mark.slow
def test_a_line_of_fifty_megabytes_costs_its_newline_and_is_refused(js: JavaScript) -> None:
    good = json.dumps({"run": "r", "seq": 0, "att": 0, "t": 1, "kind": "beat"})
    body = """
    const started = performance.now();
    const huge = '{"run":"' + "x".repeat(50_000_000) + '"}\\n';
    const parser = new SseParser();
    const bytes = new TextEncoder().encode("id: 9\\ndata: " + huge + "\\n");
    const frames = [];
    for (let at = 0; at < bytes.length; at += 65536) {
      frames.push(...parser.push(bytes.slice(at, at + 65536)));
    }
    const kept = frames.map(({ data }) => data.length);
    const run = emptyRun();
    const take = (events) => events.forEach((event) => fold(run, event));
    await readLog(new Blob([huge, input, "\\n"]), take, new AbortController().signal);
    return { kept, run, ms: performance.now() - started };
    """
    answer = js(body, good)
    assert (answer["run"]["events"], answer["run"]["refusedLines"]) == (1, 1)
    assert answer["run"]["refusals"] == ["the line is longer than 65,536 characters"]
    assert answer["kept"][0] < 70_000
    assert answer["ms"] < 5000 * slowness()


def test_a_long_file_gives_the_page_time_between_batches(js: JavaScript) -> None:
    lines = [
        json.dumps({"run": "r", "seq": n, "att": 0, "t": n, "kind": "beat"}) for n in range(9000)
    ]
    answer = js(REPLAY, "\n".join(lines) + "\n")
    assert answer["run"]["events"] == 9000
    assert answer["batches"] >= 5

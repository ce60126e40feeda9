"""The log of a run as a cell gets it: whole lines that are events, up to a size, or why not."""

from __future__ import annotations

import json

import pytest

from run.javascript import JavaScript

LINES = [
    json.dumps({"run": "r", "seq": n, "att": 0, "t": n, "kind": "beat"}) + "\n" for n in range(3)
]
READ = """
globalThis.location = { hash: "" };
const { kind, text, size, wire, after } = input;
const file = new Blob([text ?? ""]);
if (size) Object.defineProperty(file, "size", { value: size });
globalThis.fetch = async () => {
  if (!wire) throw new TypeError("Failed to fetch");
  return new Response(wire);
};
const stop = new AbortController();
const given = [{ kind, name: "mine" }, async () => file, stop.signal];
if (after) stop.abort();
try {
  const { bytes, damaged } = await readLogBytes(...given);
  return [new TextDecoder().decode(bytes), damaged];
} catch (error) {
  return error.message;
}
"""


def test_damaged_lines_of_a_file_are_left_out_and_counted(js: JavaScript) -> None:
    text = LINES[0] + "[]\n\n" + LINES[1] + '{"seq":3,"ki'
    assert js(READ, {"kind": "file", "text": text}) == ["".join(LINES[:2]), 2]


@pytest.mark.parametrize("end", [": caught-up\n\n", ""])
def test_a_live_run_is_read_as_far_as_it_is_written(js: JavaScript, end: str) -> None:
    last = LINES[2].replace("beat", "run.end").replace("}", ', "status": "finished"}')
    lines = [*LINES[:2], LINES[2] if end else last]
    frames = "".join(f"id: {n}\ndata: {line}\n" for n, line in enumerate(lines))
    wire = f": skipped 1\n\n{frames}{end}"
    assert js(READ, {"kind": "live", "wire": wire}) == ["".join(lines), 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "none"}, "No run is shown in this page"),
        ({"kind": "file", "text": "nothing\n"}, "The log of mine has no line that can be read."),
        ({"kind": "file", "size": 50_000_001}, "more than the 50 MB that a cell can read"),
        ({"kind": "live"}, "The runner did not send the log of mine"),
        ({"kind": "live", "wire": "id: 1\ndata: {}\n\n"}, "did not send the log of mine"),
        ({"kind": "file", "text": LINES[0], "after": True}, "abort"),
    ],
)
def test_why_there_is_no_log_is_a_sentence(
    js: JavaScript, given: dict[str, object], message: str
) -> None:
    answer = js(READ, given)
    assert isinstance(answer, str)
    assert message in answer

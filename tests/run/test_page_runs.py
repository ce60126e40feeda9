"""The logs of the page's own runs, stored and handed on as a runner's would be."""

import json

from run.javascript import JavaScript

LOGS = """
pageRuns.all.clear();
const heard = [];
const listen = ({ detail }) => heard.push(detail);
pageRuns.addEventListener("events", listen);
let changes = 0;
pageRuns.addEventListener("change", () => (changes += 1));
const plain = { title: "t", choices: {}, command: "", over: false, end: null };
const run = { id: "page-1", lines: [], ...plain };
pageRuns.add(run);
"""


def event(seq: int, kind: str = "metrics", **more: object) -> str:
    head = {"run": "page-1", "seq": seq, "att": 0, "t": seq, "kind": kind, "step": seq}
    return json.dumps(head | more)


def test_lines_are_reported_as_events_in_order_and_damaged_ones_left_out(js: JavaScript) -> None:
    lines = [event(0), "{torn", "[]", event(1)]
    found = js(
        LOGS + "input.forEach((one) => pageRuns.append('page-1', [one])); return heard;", lines
    )
    assert [detail["id"] for detail in found] == ["page-1"] * 4
    told = [[e.get("seq", "refused") for e in detail["events"]] for detail in found]
    assert told == [[0], [], ["refused"], [1]]


def test_the_end_is_known_once_it_is_reported_and_stays(js: JavaScript) -> None:
    body = (
        LOGS + "return input.map((lines) => (pageRuns.append('page-1', lines), run.end?.status));"
    )
    end = event(1, "run.end", status="stopped")
    assert js(body, [[event(0)], [end, event(2)], [event(3)]]) == [None, "stopped", "stopped"]


def test_the_file_is_the_log_line_by_line_as_it_was_written(js: JavaScript) -> None:
    lines = [event(0, text="ü🦀"), "{torn", event(1)]
    body = """
    pageRuns.append("page-1", input);
    const file = pageRuns.file("page-1");
    return [file.name, await file.text()];
    """
    assert js(LOGS + body, lines) == ["page-1.jsonl", "".join(f"{one}\n" for one in lines)]


def test_a_new_run_is_reported_at_once_and_stands_behind_the_older_ones(js: JavaScript) -> None:
    body = (
        LOGS + "pageRuns.add({ ...run, id: 'page-0' }); return [changes, [...pageRuns.all.keys()]];"
    )
    assert js(body) == [2, ["page-1", "page-0"]]


def test_a_view_of_a_long_log_reads_it_again_as_it_came(js: JavaScript) -> None:
    lines = [event(n, m={"train/loss": 1 / (n + 1)}) for n in range(400)]
    body = """
    const live = input.reduce((state, one) => fold(state, parseEvent(one)), emptyRun());
    pageRuns.append("page-1", input);
    const again = folded(eventsOf(run.lines));
    return JSON.stringify(live) === JSON.stringify(again) && again.events;
    """
    assert js(LOGS + body, lines) == 400

"""Dropped files, as the page asks about them: one reading at a time."""

import base64
import json
from typing import Any

from imported_logs import reading_bytes
from unfrozen.ask import answer
from unfrozen.imported.log import lines


def ask(question: str, **value: Any) -> Any:
    return json.loads(answer(f"imported.page.{question}", json.dumps(value)))


def begin(name: str, data: bytes) -> Any:
    return ask("import_file", name=name, modified=5.0, data=base64.b64encode(data).decode())


def state(steps: int) -> bytes:
    history = [{"step": n, "loss": 1.0} for n in range(1, steps + 1)]
    return json.dumps({"log_history": history, "global_step": steps}).encode()


def test_the_log_is_the_one_that_the_command_writes() -> None:
    begun = begin("trainer_state.json", state(1200))
    log, more = "", True
    while more:
        found = ask("import_lines", **begun)
        log, more = log + found["lines"], found["more"]
    assert log == "".join(lines(reading_bytes(state(1200)), "trainer_state.json", 5.0))
    assert ask("import_lines", **begun) == {"problem": "another file has taken its place"}


def test_a_file_that_cannot_be_read_is_a_problem_in_words() -> None:
    found = begin("notes.json", b'{"name": "notes"}')
    assert found["problem"].startswith("notes.json: it is JSON without a log_history; expected is")
    found = begin("events.out.tfevents.1", b"\x18\x00\x00\x00\x00\x00\x00\x00")
    assert "`unfrozen import` reads TensorBoard's event files" in found["problem"]


def test_a_newer_file_takes_the_place_of_the_one_that_is_read() -> None:
    first = begin("a", state(3))
    begin("b", state(3))
    assert ask("import_lines", **first) == {"problem": "another file has taken its place"}

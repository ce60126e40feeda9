"""Dropped files, as the page asks about them: piece by piece, one reading at a time."""

import base64
import json
from pathlib import Path
from typing import Any

import foreign_runs
from imported_logs import events, reading, reading_bytes
from unfrozen.ask import answer
from unfrozen.imported.log import lines


def ask(name: str, **value: Any) -> Any:
    return json.loads(answer(name, json.dumps(value)))


def read(files: dict[str, bytes], piece: int) -> str:
    given = [{"name": name, "modified": 5.0} for name in files]
    begun = ask("imported.page.import_files", files=given)
    contents = list(files.values())
    for place in begun["order"]:
        data = contents[place]
        for at in range(0, len(data), piece):
            text = base64.b64encode(data[at : at + piece]).decode()
            last = at + piece >= len(data)
            assert (
                ask(
                    "imported.page.import_piece",
                    **{"import": begun["import"]},
                    data=text,
                    last=last,
                )
                == {}
            )
    log, more = "", True
    while more:
        found = ask("imported.page.import_lines", **{"import": begun["import"]})
        log, more = log + found["lines"], found["more"]
    return log


def state(steps: int) -> bytes:
    history = [{"step": n, "loss": 1.0} for n in range(1, steps + 1)]
    return json.dumps({"log_history": history, "global_step": steps}).encode()


def test_the_log_is_the_one_that_the_command_writes() -> None:
    wanted = "".join(lines(reading_bytes(state(1200)), "trainer_state.json", 5.0))
    assert read({"trainer_state.json": state(1200)}, 1000) == wanted


def test_event_files_of_a_run_are_read_in_the_order_of_their_time(tmp_path: Path) -> None:
    for first, stamp in ((1, 1000), (5, 2000)):
        foreign_runs.event_file(tmp_path / str(first), [{"loss": 1.0}] * 6, first=first)
        (file,) = (tmp_path / str(first)).iterdir()
        file.rename(tmp_path / f"events.out.tfevents.{stamp}.host")
    early, late = sorted(tmp_path.glob("events*"))
    log = read({late.name: late.read_bytes(), early.name: early.read_bytes()}, 200)
    assert len(log.splitlines()) == len(events(reading(early, late)))


def test_a_file_that_cannot_be_read_is_a_problem_in_words() -> None:
    begun = ask("imported.page.import_files", files=[{"name": "notes.json", "modified": 0}])
    data = base64.b64encode(b'{"name": "notes"}').decode()
    ask("imported.page.import_piece", **{"import": begun["import"]}, data=data, last=True)
    found = ask("imported.page.import_lines", **{"import": begun["import"]})
    assert found["problem"].startswith("notes.json: it is JSON without a log_history; expected is")
    again = ask("imported.page.import_lines", **{"import": begun["import"]})
    assert again == {"problem": "another file has taken its place"}


def test_a_newer_file_takes_the_place_of_the_one_that_is_read() -> None:
    first = ask("imported.page.import_files", files=[{"name": "a", "modified": 0}])
    ask("imported.page.import_files", files=[{"name": "b", "modified": 0}])
    found = ask("imported.page.import_piece", **{"import": first["import"]}, data="", last=True)
    assert found == {"problem": "another file has taken its place"}


def test_no_file_and_too_many_are_reported() -> None:
    assert "from 1 to 200" in ask("imported.page.import_files", files=[])["problem"]
    many = [{"name": str(n), "modified": 0} for n in range(201)]
    assert "201 files" in ask("imported.page.import_files", files=many)["problem"]

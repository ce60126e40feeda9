"""The reader of a growing log: offsets, torn lines, damage."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_runner.log.tail import (
    CHUNK_BYTES,
    MOST_LINE_BYTES,
    OUTLINE_BYTES,
    Tail,
    are_events,
    is_line_start,
    last_event,
    last_value,
    outline,
    parse,
)


def line(seq: int, **more: object) -> bytes:
    return json.dumps({"run": "r", "seq": seq, "att": 0, "kind": "beat", **more}).encode() + b"\n"


def seqs(lines: list[tuple[int, bytes]]) -> list[int]:
    return [json.loads(text)["seq"] for _, text in lines]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line(0) + line(1))
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_whole_lines_come_with_the_offset_after_them(log: Path) -> None:
    first, second = len(line(0)), len(line(0) + line(1))
    assert Tail(log).read() == [(first, line(0)[:-1]), (second, line(1)[:-1])]
    assert Tail(log, first).read() == [(second, line(1)[:-1])]


def test_a_torn_last_line_waits_for_its_newline(log: Path) -> None:
    tail = Tail(log)
    tail.read()
    append(log, line(2)[:20])
    assert tail.read() == []
    append(log, line(2)[20:])
    assert seqs(tail.read()) == [2]
    assert tail.bad_lines == 0


@pytest.mark.parametrize(
    "damage",
    [b'{"run":"r","seq":2,"at\n', b"\n", b"[1]\n", b"\xff\xfe\n", b"{}\n", b"[" * 9000 + b"\n"],
)
def test_a_damaged_line_is_skipped_and_counted(log: Path, damage: bytes) -> None:
    tail = Tail(log)
    append(log, damage + line(2))
    assert seqs(tail.read()) == [0, 1, 2]
    assert tail.bad_lines == 1
    assert tail.offset == log.stat().st_size


HEAD = line(2)[:-2]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [line(0)[:-1], line(1, m={"train/loss": 1.5}, text="},{")[:-1]],
        [line(0)[:-1], b""],
        [HEAD + b',"m":{"x":NaN}}'],
        [HEAD + b',"text":"\xff"}', line(1)[:-1]],
        [HEAD + b',"m":[1', b"2]}"],
        [HEAD + b"}," + HEAD + b',"m":[{}', b"{}]}"],
        [HEAD + b',"m":[{}', b"{}]}", HEAD + b"}," + HEAD + b"}"],
        [line(0)[:-1], b'{"seq":2}'],
        [HEAD + b',"m":' + b"[" * 9000 + b"]" * 9000 + b"}"],
    ],
)
def test_lines_read_at_once_are_events_where_each_alone_is_one(lines: list[bytes]) -> None:
    assert are_events(lines) == all(parse(each) is not None for each in lines)


@pytest.mark.slow
def test_a_long_log_comes_in_bounded_pieces(log: Path) -> None:
    count = 3 * CHUNK_BYTES // len(line(100_000))
    log.write_bytes(b"".join(line(100_000 + seq) for seq in range(count)))
    tail = Tail(log)
    pieces = []
    while piece := tail.read():
        pieces.append(piece)
    assert len(pieces) > 2
    assert [seq for piece in pieces for seq in seqs(piece)] == [
        100_000 + seq for seq in range(count)
    ]


def test_a_line_longer_than_a_piece_does_not_stop_the_reader(log: Path) -> None:
    append(log, b"x" * (2 * CHUNK_BYTES + 7) + b"\n" + line(2))
    tail = Tail(log)
    found: list[int] = []
    for _ in range(4):
        found += seqs(tail.read())
    assert found == [0, 1, 2]
    assert tail.bad_lines == 1


@given(cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_however_the_writes_are_cut_every_event_comes_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("cuts") / "events.jsonl"
    data = b"".join(line(seq, text="ü" * (seq % 7)) for seq in range(20))
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    path.touch()
    tail, found = Tail(path), []
    for start, end in pairwise(places):
        append(path, data[start:end])
        found += seqs(tail.read())
    assert found == list(range(20))
    assert tail.bad_lines == 0


def test_the_last_event_is_found_behind_damage_and_before_a_torn_line(log: Path) -> None:
    append(log, b"damage\n" * 60_000 + line(9)[:10])
    event = last_event(log)
    assert event is not None
    assert event["seq"] == 1


def test_a_log_without_a_whole_event_has_no_last_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line(0)[:-1])
    assert last_event(path) is None


def test_only_the_start_and_the_ends_of_lines_are_places_to_begin(log: Path) -> None:
    ends = {0, len(line(0)), len(line(0)) + len(line(1))}
    assert {at for at in range(log.stat().st_size + 1) if is_line_start(log, at)} == ends


def test_an_event_needs_its_envelope() -> None:
    assert parse(line(3)) == {"run": "r", "seq": 3, "att": 0, "kind": "beat"}
    assert parse(b'{"seq":3}') is None


def test_the_newest_value_of_a_metric_is_found_from_the_end(log: Path) -> None:
    assert last_value(log, "cost/spent") is None
    append(log, line(2, m={"cost/spent": 1.5}) + line(3, m={"cost/spent": "NaN"}) + line(4, m=[7]))
    assert last_value(log, "cost/spent") == 1.5
    append(log, line(5, m={"cost/spent": 2}) + b'{"torn')
    assert last_value(log, "cost/spent") == 2.0
    assert last_value(log, "cost/spent", within=8) is None


def long_log(steps: int) -> list[bytes]:
    """Lines of a run: two evaluated sets every ten steps, a resume in the middle."""
    form = '{"run":"r","seq":%d,"att":0,"kind":"%s","step":%d,"m":{"train/loss":%f}}'
    lines: list[str] = []
    for step in range(steps):
        kinds = ["metrics", *(["eval", "eval"] if step % 10 == 0 else [])]
        kinds += ["run.resume"] if step == steps // 2 else []
        lines += [form % (len(lines) + place, kind, step, step) for place, kind in enumerate(kinds)]
    return [text.encode() for text in lines]


def test_the_outline_of_a_short_log_is_the_log(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(long_log(500)) + b'\n{"torn')
    assert outline(path) == b"\n".join(long_log(500)) + b"\n"
    path.write_bytes(b"")
    assert outline(path) == b""


def test_the_outline_of_a_long_log_is_bounded_even_and_whole_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = long_log(60_000)
    path.write_bytes(b"\n".join([*lines, b"x" * (MOST_LINE_BYTES + 1), b""]))
    found = outline(path).splitlines()
    assert sum(map(len, found)) < 3 * OUTLINE_BYTES
    numbers = [json.loads(text)["seq"] for text in found]
    assert numbers == sorted(set(numbers))
    events = [json.loads(text) for text in found]
    assert [event["step"] for event in events if event["kind"] == "run.resume"] == [30_000]
    steps = [event["step"] for event in events if event["kind"] == "metrics"]
    assert steps[-1] == 59_999
    assert max(after - step for step, after in pairwise(steps)) < 60_000 / len(steps) * 3
    scored = [event["step"] for event in events if event["kind"] == "eval"]
    assert scored[::2] == scored[1::2]  # the sets of a step stay together
    assert scored[-1] == 59_990
    assert len(scored) > 500


@pytest.mark.parametrize("kind", ["alert", "eval", "beat", "metrics"])
def test_an_outline_is_bounded_whatever_the_log_is_full_of(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "events.jsonl"
    form = '{"run":"r","seq":%d,"att":0,"kind":"KIND","step":1,"text":"%s"}\n'.replace("KIND", kind)
    path.write_text("".join(form % (n, "x" * 500) for n in range(5000)))
    numbers = [json.loads(text)["seq"] for text in outline(path).splitlines()]
    assert (numbers[0], numbers[-1]) == (0, 4999)
    assert OUTLINE_BYTES // 4 < path.stat().st_size * len(numbers) / 5000 < 2 * OUTLINE_BYTES


def test_an_outline_is_evaluations_too_many_to_keep_spread_over_the_run(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    form = b'{"run":"r","seq":%d,"att":0,"kind":"eval","step":%d,"row_losses":[%s]}\n'
    path.write_bytes(b"".join(form % (n, n, b"1.25," * 200 + b"1") for n in range(2000)))
    steps = [json.loads(text)["step"] for text in outline(path).splitlines()]
    assert steps[0] == 0
    assert steps[-1] == 1999
    assert 100 < len(steps) < 300
    assert len({after - step for step, after in pairwise(steps[:-1])}) == 1

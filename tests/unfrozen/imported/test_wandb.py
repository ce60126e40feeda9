"""Offline runs as the real W&B writes them, row by row as its own protobuf reads them."""

import math
import struct
import zlib
from pathlib import Path

import pytest

import foreign_runs
from conftest import matrix
from imported_logs import curve, events, of_kind, reading, reading_bytes, scores
from unfrozen.errors import ForeignFileError
from unfrozen.imported.wandb import MAGIC, OfflineRunReader


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """A protobuf message, written by hand."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def history(**values: str) -> bytes:
    items = [message((1, key.encode()), (16, value.encode())) for key, value in values.items()]
    return message((2, message(*((1, item) for item in items))))


def framed(kind: int, data: bytes) -> bytes:
    return struct.pack("<IHB", zlib.crc32(data, zlib.crc32(bytes([kind]))), len(data), kind) + data


def log(*records: bytes) -> bytes:
    return MAGIC + b"".join(framed(1, record) for record in records)


@pytest.mark.slow
@pytest.mark.parametrize("piece", matrix([1 << 20, 1013], 1013))
def test_every_number_is_the_one_that_wandb_reads(offline_file: Path, piece: int) -> None:
    found = events(reading(offline_file, piece=piece))
    theirs = foreign_runs.history(offline_file)
    assert len(theirs) == len(foreign_runs.ROWS)
    steps = [row["train/global_step"] for row in theirs]
    for key, name in (
        ("train/loss", "train/loss"),
        ("train/learning_rate", "opt/lr"),
        ("reward.mean", "other/reward.mean"),
    ):
        wanted = [row[key] if key in row else row["reward"]["mean"] for row in theirs]
        assert curve(found, name) == list(zip(steps, wanted, strict=True))
    logged = [(step, row["train/loss"]) for step, row in zip(steps, foreign_runs.ROWS, strict=True)]
    assert curve(found, "train/loss") == logged
    *whole, (last, loss) = scores(found, "task")
    assert whole == [(100, 0.3), (200, 0.15), (300, 0.1)]
    assert last == 400
    assert math.isnan(loss)


@pytest.mark.slow
def test_its_name_settings_and_end_are_there_and_its_owner_is_not(offline_file: Path) -> None:
    found = events(reading(offline_file))
    start, end = found[0], found[-1]
    assert (start["model"]["name"], start["plan"]["steps"]) == ("a run", 40)
    assert start["config"]["optim.name"] == "adamw"
    assert (end["status"], end["summary"]["best"]) == ("finished", 0.25)
    import getpass
    import socket

    text = str(found)
    assert socket.gethostname() not in text
    assert f"/{getpass.getuser()}/" not in text


@pytest.mark.slow
def test_a_run_that_failed_says_with_which_code_and_metrics_have_steps_of_their_own(
    tmp_path: Path,
) -> None:
    run = reading(foreign_runs.offline_run(tmp_path, "failed"))
    assert (run.status, run.reason) == ("failed", "its process ended with exit code 3")
    found = events(run)
    assert curve(found, "other/val/accuracy") == [(3, 0.3), (5, 0.5), (9, 0.9)]
    assert [step for step, _ in curve(found, "other/half")] == [
        0,
        1,
        2,
    ]  # its steps are no whole numbers


def test_a_run_whose_end_was_not_logged_was_stopped() -> None:
    run = reading_bytes(log(history(loss="2.5", _step="3", _timestamp="1000.5")))
    found = events(run)
    assert (run.status, found[-1]["t"]) == ("stopped", 1000.5)
    assert "its end was not logged" in run.reason
    assert curve(found, "train/loss") == [(3, 2.5)]


def test_an_exit_code_that_is_negative_is_one() -> None:
    run = reading_bytes(log(history(a="1"), message((18, message((1, 2**64 - 9))))))
    assert run.reason == "its process ended with exit code -9"


def test_rows_that_name_the_optimizers_step_stand_there() -> None:
    rows = [
        history(loss="2", **{"train/global_step": "10", "_step": "0"}),
        history(x="1", _step="1"),
    ]
    found = events(reading_bytes(log(*rows)))
    assert curve(found, "train/loss") == [(10, 2.0)]
    assert curve(found, "other/x") == [(10, 1.0)]


def test_a_row_at_no_step_is_counted_and_moves_nothing() -> None:
    rows = [history(a="1", _step="5"), history(a="2", _step="-3"), history(a="3", _step="NaN")]
    stats = message((7, message((3, message((1, b"proc.memory.rssMB"), (16, b"1"))))))
    run = reading_bytes(log(*rows, stats))
    assert curve(events(run), "other/a") == [(5, 1.0)]
    assert curve(events(run), "sys/rss_bytes") == [(5, 2.0**20)]
    assert len(run.points.attempts) == 1


def test_words_for_what_is_not_finite_are_numbers_and_others_are_counted() -> None:
    row = history(
        a='"NaN"', b="NaN", c='"-Infinity"', d="true", e='"text"', f='{"_type": "x"}', g="{"
    )
    found = events(reading_bytes(log(row)))
    (metrics,) = of_kind(found, "metrics")
    assert metrics["m"] == {"other/a": "NaN", "other/b": "NaN", "other/c": "-Infinity"}
    assert "4 values that are no numbers" in " ".join(e["text"] for e in of_kind(found, "alert"))


def test_resident_memory_is_measured_in_bytes() -> None:
    stats = message((3, message((1, b"proc.memory.rssMB"), (16, b"1.5"))))
    found = events(reading_bytes(log(history(a="1", _step="4"), message((7, stats)))))
    assert curve(found, "sys/rss_bytes") == [(4, 1.5 * 2**20)]


def test_after_damage_reading_goes_on_at_the_next_block() -> None:
    row = history(loss="1.5", _step="1", pad='"' + "x" * 300 + '"')
    padded = log(*[row] * 110)[: 32 * 1024]
    at = len(MAGIC) + 3 * len(framed(1, row)) + 50
    broken = padded[:at] + bytes([padded[at] ^ 1]) + padded[at + 1 :]
    after = framed(1, history(loss="0.5", _step="9"))
    found = events(reading_bytes(broken + after))
    assert curve(found, "train/loss") == [(1, 1.5), (9, 0.5)]
    said = " ".join(e["text"] for e in of_kind(found, "alert"))
    assert f"at byte {len(MAGIC) + 3 * len(framed(1, row)):,}: the checksum" in said


def test_a_record_in_fragments_is_put_together_and_one_without_end_is_waited_for() -> None:
    record = history(loss="1.25", _step="2", pad='"' + "x" * 70_000 + '"')
    first = 32 * 1024 - len(MAGIC) - 7
    room = 32 * 1024 - 7
    cut = [record[:first], record[first : first + room], record[first + room :]]
    whole = MAGIC + b"".join(framed(k, part) for k, part in zip((2, 3, 4), cut, strict=True))
    assert curve(events(reading_bytes(whole)), "train/loss") == [(2, 1.25)]
    with pytest.raises(ForeignFileError, match="its last record has no end"):
        reading_bytes(whole[: -len(cut[2]) - 7])


def test_fragments_without_end_take_no_more_memory_than_a_record_may() -> None:
    reader = OfflineRunReader("f")
    part = b"x" * (32 * 1024 - 7)
    reader.feed(MAGIC + framed(2, part[: -len(MAGIC)]))
    for _ in range(600):
        reader.feed(framed(3, part))
    assert len(reader._record or b"") <= 16 * 2**20


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (MAGIC, "no number was logged"),
        (b":W&B\xe1\xbe\x01" + b"\0" * 20, "its first 7 bytes are not those of W&B's format"),
        (log(b"\xff\xff\xff"), "a record that is no message"),
        (MAGIC + framed(9, b"abc"), "a record is of type 9"),
        (MAGIC + b"\0" * 40_000, "no number was logged"),
    ],
)
def test_what_holds_no_run_is_refused_with_what_to_do(data: bytes, problem: str) -> None:
    with pytest.raises(ForeignFileError, match=problem):
        reading_bytes(data)

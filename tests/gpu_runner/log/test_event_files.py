"""Event files as TensorBoard's own writers write them, as its own reader reads them."""

import math
import random
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import foreign_runs
from gpu_runner.log.event_files import order, read_event_files
from imported_logs import curve, events, of_kind
from unfrozen.errors import ForeignFileError
from unfrozen.imported.log import ForeignRun

ROWS: list[dict[str, float]] = [
    {"train/loss": 2.5, "train/learning_rate": 1e-3, "odd/one": 7.25},
    {"train/loss": 0.1 + 0.2, "train/learning_rate": 5e-4, "odd/one": math.nan},
    {"train/loss": math.inf, "train/learning_rate": 1e-300, "eval/loss": 1.75},
]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*tfevents*"), key=order)


def reading(folder: Path) -> ForeignRun:
    """The run in the event files of a folder."""
    return read_event_files(files(folder))


def notes(run: ForeignRun) -> str:
    return " ".join(run.notes)


@pytest.mark.parametrize("new_style", [False, True])
def test_every_scalar_is_the_one_that_tensorboard_reads(tmp_path: Path, new_style: bool) -> None:
    folder = foreign_runs.event_file(tmp_path, ROWS, new_style=new_style)
    found = events(reading(folder))
    theirs = foreign_runs.read_back(folder)
    for tag, name in (("train/loss", "train/loss"), ("odd/one", "other/odd/one")):
        ours = curve(found, name)
        assert [step for step, _ in ours] == [step for step, _, _ in theirs[tag]]
        for (_, value), (_, wanted, _) in zip(ours, theirs[tag], strict=True):
            assert struct.pack("<d", value) == struct.pack("<d", wanted)
    times = {e["step"]: e["t"] for e in of_kind(found, "metrics")}
    for step, _, time in theirs["odd/one"]:
        assert times[step] == pytest.approx(time, abs=2)


def test_what_is_no_curve_is_named(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("train/loss", 2.0, 1)
        writer.add_text("args", "lr = 1e-3")
        writer.add_text("config", "{}")
        for number in range(20):
            writer.add_text(f"note/{number}", "…")
    said = " ".join(e["text"] for e in of_kind(events(reading(tmp_path)), "alert"))
    assert "22 values that are no scalars were passed over: args/text_summary (text)" in said
    assert "config/text_summary (text)" in said
    assert "and 10 more" in said


def test_steps_that_go_back_are_another_attempt(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [{"train/loss": n / 10} for n in range(8)])
    first = files(tmp_path)[0]
    first.rename(tmp_path / "events.out.tfevents.1000.a")
    foreign_runs.event_file(tmp_path, [{"train/loss": 9.0}, {"train/loss": 8.0}], first=5)
    found = events(reading(tmp_path))
    (resumed,) = of_kind(found, "run.resume")
    assert (resumed["from_step"], resumed["att"]) == (4, 1)
    assert [v for _, v in curve(found, "train/loss")][-2:] == [9.0, 8.0]
    assert found[-1]["step"] == 6
    assert "Steps went back once" in " ".join(e["text"] for e in of_kind(found, "alert"))


def test_a_start_that_nothing_follows_takes_nothing_back(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [{"a": n} for n in range(1, 7)])
    files(tmp_path)[0].rename(tmp_path / "events.out.tfevents.1000.a")
    foreign_runs.event_file(tmp_path, [], purge_step=2)
    assert not of_kind(events(reading(tmp_path)), "run.resume")


def test_a_writer_that_purges_says_from_where(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [{"a": n} for n in range(1, 7)])
    files(tmp_path)[0].rename(tmp_path / "events.out.tfevents.1000.a")
    foreign_runs.event_file(tmp_path, [{"b": 1.0}], first=4, purge_step=4)
    (resumed,) = of_kind(events(reading(tmp_path)), "run.resume")
    assert resumed["from_step"] == 3


def test_curves_of_another_axis_are_no_restart(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for epoch in range(1, 4):
            for step in range(10):
                writer.add_scalar("train/loss", 1.0, 10 * epoch + step)
            writer.add_scalar("val/loss", 2.0, epoch)
    found = events(reading(tmp_path))
    assert not of_kind(found, "run.resume")
    assert [e["step"] for e in of_kind(found, "eval")] == [1, 2, 3]


def test_what_is_no_scalar_is_passed_over_and_counted(tmp_path: Path) -> None:
    import torch
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("h", torch.arange(100.0), 1)
        writer.add_text("t", "words", 1)
        writer.add_scalar("loss", 1.5, 1)
    found = events(reading(tmp_path))
    assert curve(found, "train/loss") == [(1, 1.5)]
    assert "2 values that are no scalars" in " ".join(e["text"] for e in of_kind(found, "alert"))


def test_a_file_without_a_scalar_says_so(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [])
    with pytest.raises(ForeignFileError, match="no scalar is in it"):
        reading(tmp_path)


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"dtype": 1, "float_val": [0.75]}, 0.75),
        ({"dtype": 2, "double_val": [1e300]}, 1e300),
        ({"dtype": 1, "tensor_content": struct.pack("<f", 0.75)}, 0.75),
        ({"dtype": 2, "tensor_content": struct.pack("<d", 0.75)}, 0.75),
        ({"dtype": 3, "int_val": [-5]}, -5.0),
        ({"dtype": 9, "int64_val": [-(2**40)]}, -(2.0**40)),
        ({"dtype": 9, "tensor_content": struct.pack("<q", 7)}, 7.0),
        ({"dtype": 14, "half_val": [0x3FC0]}, None),
        ({"dtype": 14, "tensor_content": b"\xc0\x3f"}, None),
        ({"dtype": 19, "half_val": [0x3E00]}, 1.5),
        ({"dtype": 1, "float_val": [1.0, 2.0]}, None),
        ({"dtype": 1, "tensor_content": b"\0" * 800}, None),
        ({"dtype": 7, "string_val": [b"x"]}, None),
        ({}, None),
    ],
)
def test_a_tensor_of_one_element_is_a_number_of_its_type(
    tmp_path: Path, fields: dict[str, Any], number: float | None
) -> None:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from torch.utils.tensorboard import SummaryWriter

    plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    value = Summary.Value(tag="odd", metadata=plugin, tensor=TensorProto(**fields))
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("loss", 2.0, 1)
        writer._get_file_writer().add_summary(Summary(value=[value]), 1)  # type: ignore[union-attr]
    run = reading(tmp_path)
    assert curve(events(run), "other/odd") == ([] if number is None else [(1, number)])
    assert ("1 values that are no scalars" in notes(run)) == (number is None)


def damaged(data: bytes) -> Iterable[bytes]:
    chance = random.Random(7)
    yield from (data[:size] for size in range(0, len(data), 23))
    for _ in range(20):
        flipped = bytearray(data)
        flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield bytes(flipped)
    yield from (chance.randbytes(chance.randrange(1, 300)) for _ in range(20))
    yield bytes(4096)


def test_a_damaged_file_gives_what_stands_before_or_a_sentence(tmp_path: Path) -> None:
    (file,) = files(foreign_runs.event_file(tmp_path, ROWS))
    whole = file.read_bytes()
    for data in damaged(whole):
        file.write_bytes(data)
        try:
            run = reading(tmp_path)
        except ForeignFileError as error:
            said = str(error)
        else:
            assert run.points.count < 9
            said = notes(run)
        assert "nothing was read from there on" in said or ("no scalar" in said and not data)
    file.write_bytes(whole)
    assert (reading(tmp_path).points.count, notes(reading(tmp_path))) == (9, "")


def test_records_that_are_no_events_are_named_with_their_byte(tmp_path: Path) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    foreign_runs.event_file(tmp_path, ROWS)
    (file,) = files(tmp_path)
    size = file.stat().st_size
    with file.open("ab") as end:
        RecordWriter(end).write(b"\x0a\x7fabc")
    run = reading(tmp_path)
    assert f"at byte {size:,}: a record that is no event of TensorBoard was passed over" in notes(
        run
    )
    assert run.points.count == 9


def test_a_file_that_was_opened_and_not_written_yet_is_no_fault(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, ROWS)
    (tmp_path / "events.out.tfevents.9999999999.host").touch()
    assert reading(tmp_path).notes == []


def test_without_tensorboard_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = files(foreign_runs.event_file(tmp_path, ROWS))
    monkeypatch.setitem(sys.modules, "google.protobuf.message", None)
    with pytest.raises(ForeignFileError, match=r"not installed .*; pip install tensorboard"):
        read_event_files([file])


def test_trainers_own_event_file_is_finished_when_it_says_its_runtime(tmp_path: Path) -> None:
    rows = [{"train/loss": 1.0}, {"train/train_runtime": 9.0, "train/train_loss": 1.5}]
    foreign_runs.event_file(tmp_path, rows)
    run = reading(tmp_path)
    assert run.status == "finished"
    assert curve(events(run), "train/loss") == [(1, 1.0)]


def test_a_writer_without_steps_has_its_values_counted(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for number in range(10):
            writer.add_scalar("train/loss", 10.0 - number)
    found = curve(events(reading(tmp_path)), "train/loss")
    assert found == [(number, 10.0 - number) for number in range(10)]

"""Event files as TensorBoard's own writers write them, as its own reader reads them."""

import math
import struct
from pathlib import Path
from typing import Any

import pytest

import foreign_runs
from imported_logs import curve, events, of_kind, reading, reading_bytes
from unfrozen.errors import ForeignFileError
from unfrozen.imported.tensorboard import masked, scalar

ROWS: list[dict[str, float]] = [
    {"train/loss": 2.5, "train/learning_rate": 1e-3, "odd/one": 7.25},
    {"train/loss": 0.1 + 0.2, "train/learning_rate": 5e-4, "odd/one": math.nan},
    {"train/loss": math.inf, "train/learning_rate": 1e-300, "eval/loss": 1.75},
]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*tfevents*"))


@pytest.mark.parametrize("new_style", [False, True])
def test_every_scalar_is_the_one_that_tensorboard_reads(tmp_path: Path, new_style: bool) -> None:
    folder = foreign_runs.event_file(tmp_path, ROWS, new_style=new_style)
    found = events(reading(*files(folder), piece=97))
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
    said = " ".join(e["text"] for e in of_kind(events(reading(*files(tmp_path))), "alert"))
    assert "22 values that are no scalars were passed over: args/text_summary (text)" in said
    assert "config/text_summary (text)" in said
    assert "and 10 more" in said


def test_steps_that_go_back_are_another_attempt(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [{"train/loss": n / 10} for n in range(8)])
    first = files(tmp_path)[0]
    first.rename(tmp_path / "events.out.tfevents.1000.a")
    foreign_runs.event_file(tmp_path, [{"train/loss": 9.0}, {"train/loss": 8.0}], first=5)
    found = events(reading(*files(tmp_path)))
    (resumed,) = of_kind(found, "run.resume")
    assert (resumed["from_step"], resumed["att"]) == (4, 1)
    assert [v for _, v in curve(found, "train/loss")][-2:] == [9.0, 8.0]
    assert found[-1]["step"] == 6
    assert "Steps went back once" in " ".join(e["text"] for e in of_kind(found, "alert"))


def test_a_start_that_nothing_follows_takes_nothing_back(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [{"a": n} for n in range(1, 7)])
    files(tmp_path)[0].rename(tmp_path / "events.out.tfevents.1000.a")
    foreign_runs.event_file(tmp_path, [], purge_step=2)
    assert not of_kind(events(reading(*files(tmp_path))), "run.resume")


def test_a_writer_that_purges_says_from_where(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [{"a": n} for n in range(1, 7)])
    files(tmp_path)[0].rename(tmp_path / "events.out.tfevents.1000.a")
    foreign_runs.event_file(tmp_path, [{"b": 1.0}], first=4, purge_step=4)
    (resumed,) = of_kind(events(reading(*files(tmp_path))), "run.resume")
    assert resumed["from_step"] == 3


def test_curves_of_another_axis_are_no_restart(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for epoch in range(1, 4):
            for step in range(10):
                writer.add_scalar("train/loss", 1.0, 10 * epoch + step)
            writer.add_scalar("val/loss", 2.0, epoch)
    found = events(reading(*files(tmp_path)))
    assert not of_kind(found, "run.resume")
    assert [e["step"] for e in of_kind(found, "eval")] == [1, 2, 3]


def test_what_is_no_scalar_is_passed_over_and_counted(tmp_path: Path) -> None:
    import torch
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("h", torch.arange(100.0), 1)
        writer.add_text("t", "words", 1)
        writer.add_scalar("loss", 1.5, 1)
    found = events(reading(*files(tmp_path)))
    assert curve(found, "train/loss") == [(1, 1.5)]
    assert "2 values that are no scalars" in " ".join(e["text"] for e in of_kind(found, "alert"))


def test_a_file_without_a_scalar_says_so(tmp_path: Path) -> None:
    foreign_runs.event_file(tmp_path, [])
    with pytest.raises(ForeignFileError, match="no scalar is in it"):
        reading(*files(tmp_path))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("as_content", [False, True])
def test_a_tensor_of_one_element_is_a_number(double: bool, as_content: bool) -> None:
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    form, dtype = ("<d", 2) if double else ("<f", 1)
    if as_content:
        tensor = TensorProto(dtype=dtype, tensor_content=struct.pack(form, 0.75))
    else:
        tensor = TensorProto(dtype=dtype, **{f"{'double' if double else 'float'}_val": [0.75]})
    assert scalar(tensor.SerializeToString()) == 0.75


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"dtype": 3, "int_val": [-5]}, -5.0),
        ({"dtype": 9, "int64_val": [-(2**40)]}, -(2.0**40)),
        ({"dtype": 9, "tensor_content": struct.pack("<q", 7)}, 7.0),
        ({"dtype": 14, "half_val": [0x3FC0]}, 1.5),
        ({"dtype": 14, "tensor_content": b"\xc0\x3f"}, 1.5),
        ({"dtype": 19, "half_val": [0x3E00]}, 1.5),
        ({"dtype": 1, "float_val": [1.0, 2.0]}, None),
        ({"dtype": 1, "tensor_content": b"\0" * 800}, None),
        ({"dtype": 7, "string_val": [b"x"]}, None),
        ({}, None),
    ],
)
def test_other_tensors_are_numbers_of_their_type_or_none(
    fields: dict[str, Any], number: float | None
) -> None:
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    assert scalar(TensorProto(**fields).SerializeToString()) == number


def test_a_tfrecord_that_holds_no_events_is_refused_by_its_byte() -> None:
    data = b"\x0a\x03abc"
    head = struct.pack("<Q", len(data))
    framed = head + struct.pack("<I", masked(head)) + data + struct.pack("<I", masked(data))
    with pytest.raises(ForeignFileError, match="at byte 0: a TFRecord, but no event"):
        reading_bytes(framed)


def test_a_file_that_is_still_being_written_gives_what_is_there(tmp_path: Path) -> None:
    data = files(foreign_runs.event_file(tmp_path, ROWS))[0].read_bytes()
    found = events(reading_bytes(data[:-3]))
    assert "the file ends inside a record" in " ".join(e["text"] for e in of_kind(found, "alert"))


@pytest.mark.parametrize("stamp", [1, 9_999_999_999])
def test_a_file_that_was_opened_and_not_written_yet_is_no_fault(tmp_path: Path, stamp: int) -> None:
    foreign_runs.event_file(tmp_path, ROWS)
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-3])
    (tmp_path / f"events.out.tfevents.{stamp}.host").touch()
    run = reading(*files(tmp_path))
    assert len(run.notes) == 1
    with pytest.raises(ForeignFileError, match="there is nothing in it"):
        reading(tmp_path / f"events.out.tfevents.{stamp}.host")


def test_trainers_own_event_file_is_finished_when_it_says_its_runtime(tmp_path: Path) -> None:
    rows = [{"train/loss": 1.0}, {"train/train_runtime": 9.0, "train/train_loss": 1.5}]
    foreign_runs.event_file(tmp_path, rows)
    run = reading(*files(tmp_path))
    assert run.status == "finished"
    assert curve(events(run), "train/loss") == [(1, 1.0)]


def test_a_writer_without_steps_has_its_values_counted(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for number in range(10):
            writer.add_scalar("train/loss", 10.0 - number)
    found = curve(events(reading(*files(tmp_path))), "train/loss")
    assert found == [(number, 10.0 - number) for number in range(10)]

"""A table of metrics is read by its columns, whoever exported it."""

import math

import pytest

from unfrozen.errors import ForeignFileError
from unfrozen.imported.foreign_files import read_foreign
from unfrozen.imported.log import ForeignRun
from unfrozen.imported.points import moments

LIGHTNING = """epoch,step,train_loss_epoch,train_loss_step,val_loss
0,9,,2.5,
0,19,,1.5,
0,19,2.0,,1.75
"""  # as CSVLogger writes what a module logs with on_step and on_epoch
WANDB = """"Step","fox-7 - train/loss","fox-7 - train/loss__MIN","fox-7 - train/loss__MAX"
"1","2.5","2.5","2.5"
"2","1.25","1.25","1.25"
"""  # the export of a chart


def read(table: str, encoding: str = "utf-8") -> ForeignRun:
    return read_foreign("metrics.csv", table.encode(encoding))


def curves(run: ForeignRun) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for attempt in run.points.attempts:
        for step, _, values in moments(attempt):
            for name, value in values.items():
                found.setdefault(name, []).append((step, value))
    return found


def test_lightnings_table_has_its_losses_at_its_steps() -> None:
    assert curves(read(LIGHTNING)) == {
        "epoch": [(9, 0), (19, 0)],
        "train_loss_step": [(9, 2.5), (19, 1.5)],
        "train_loss_epoch": [(19, 2.0)],
        "val_loss": [(19, 1.75)],
    }


def test_wandbs_export_names_the_run_and_its_bounds_are_left_out() -> None:
    run = read(WANDB)
    assert (run.name, curves(run)) == ("fox-7", {"train/loss": [(1, 2.5), (2, 1.25)]})


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_other_delimiters_a_byte_order_mark_and_windows_lines_are_read(mark: str) -> None:
    table = "step,loss,lr\r\n1,2.5,1e-4\r\n2,nan,5e-05\r\n".replace(",", mark)
    found = curves(read(table, "utf-8-sig"))
    assert found["lr"] == [(1, 1e-4), (2, 5e-5)]
    assert found["loss"][0] == (1, 2.5)
    assert math.isnan(found["loss"][1][1])


@pytest.mark.parametrize("time", ["1795973255", "1795973255000"])
def test_times_are_seconds_or_milliseconds(time: str) -> None:
    run = read(f"timestamp,step,loss\n{time},1,2.5\n")
    assert [at for _, at, _ in moments(run.points.attempts[0])] == [1795973255.0]


def test_what_is_no_number_is_counted_by_its_column() -> None:
    run = read('step,loss,note\n1,2.5,"a\nb"\n2,1_000,b\nx,1.0,\n')
    assert curves(run) == {"loss": [(1, 2.5)]}
    assert list(run.notes) == [
        "cells of loss that are no numbers: 1",
        "cells of note that are no numbers: 2",
    ]
    assert run.points.left == {"at steps outside 0 to 1,000,000,000": 1}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("name,value\na,1\n", "no table of metrics; a table has a column step, global_step"),
        ("hello there, this is no log", "it is of no tool that is known here"),
        ("step,loss\n1,\n", "no number is in it"),
        ("step,loss\n1,\xff\n", "file at byte 12: it is not UTF-8"),
        (f"step,loss\n1,{'9' * 200_000}\n", "line 2 is no line of a table"),
    ],
)
def test_what_is_no_table_of_metrics_is_refused_with_what_to_do(table: str, problem: str) -> None:
    with pytest.raises(ForeignFileError) as refused:
        read(table, "latin-1")
    assert problem in str(refused.value).replace("metrics.csv", "file")

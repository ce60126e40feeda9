"""GPUs as the real NVML module reports them, over a library that stands in for the driver's."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_runner.system.gpus import Gpus, GpusUnavailable
from stand_in_gpus import StandInGpu, write_gpus

FIRST, SECOND, THIRD = (StandInGpu(uuid=f"GPU-{letter * 8}-1") for letter in "abc")
NOT_SUPPORTED, LOST, MISMATCH = -3, -15, 18


def memories(gpus: Gpus) -> list[float]:
    return [reading.values["gpu/memory_bytes"] for reading in gpus.read()]


def test_a_gpu_is_sampled_in_the_units_of_the_log(gpus_file: Path) -> None:
    write_gpus(gpus_file, FIRST)
    (reading,) = Gpus.open().read()
    assert reading.values == {
        "gpu/memory_bytes": 2 << 30,
        "gpu/busy": 0.97,
        "gpu/power": 412.5,
        "gpu/temperature": 63,
        "gpu/throttled": 0.0,
    }
    assert reading.reasons == ()


def test_what_holds_the_clocks_back_is_named_and_an_idle_gpu_is_not_held(
    gpus_file: Path,
) -> None:
    idle, by_request = 0x01, 0x02
    write_gpus(
        gpus_file, replace(FIRST, reasons=idle | by_request), replace(SECOND, reasons=0x04 | 0x40)
    )
    first, second = Gpus.open().read()
    assert (first.values["gpu/throttled"], first.reasons) == (0.0, ())
    assert (second.values["gpu/throttled"], second.reasons) == (1.0, ("power_cap", "hardware_heat"))


def test_what_a_gpu_does_not_support_is_left_out_and_not_asked_again(gpus_file: Path) -> None:
    write_gpus(gpus_file, replace(FIRST, milliwatts=NOT_SUPPORTED, reasons=NOT_SUPPORTED))
    gpus = Gpus.open()
    (reading,) = gpus.read()
    assert reading.values.keys() == {"gpu/memory_bytes", "gpu/busy", "gpu/temperature"}
    write_gpus(gpus_file, FIRST)
    assert "gpu/power" not in gpus.read()[0].values


def test_an_error_that_passes_costs_one_value(gpus_file: Path) -> None:
    changed = replace(FIRST, celsius=-999)
    write_gpus(gpus_file, changed)
    gpus = Gpus.open()
    assert "gpu/temperature" not in gpus.read()[0].values
    write_gpus(gpus_file, FIRST)
    assert gpus.read()[0].values["gpu/temperature"] == 63


def test_a_gpu_that_is_lost_is_reported_once_and_the_others_go_on(gpus_file: Path) -> None:
    write_gpus(gpus_file, FIRST, SECOND)
    gpus = Gpus.open()
    write_gpus(gpus_file, replace(FIRST, memory=LOST), SECOND)
    assert [reading.index for reading in gpus.read()] == [1]
    assert [reading.index for reading in gpus.read()] == [1]
    assert gpus.lost == ["GPU 0 does not answer any more: GPU is lost."]


def test_a_driver_of_another_version_is_reported_with_its_remedy(gpus_file: Path) -> None:
    write_gpus(gpus_file, FIRST, init=MISMATCH)
    with pytest.raises(
        GpusUnavailable, match=r"version mismatch.*Restart the machine after a driver update\.$"
    ):
        Gpus.open()


def test_a_missing_library_is_reported_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GpusUnavailable, match=r"pip install nvidia-ml-py$"):
        Gpus.open()


@pytest.mark.parametrize(
    ("visible", "sizes"),
    [
        (None, [1, 2, 3]),
        ("2,0", [3, 1]),
        ("GPU-bbbb", [2]),
        ("GPU-cccccccc-1,1", [3, 2]),
        ("1,7,0", [2]),  # CUDA stops at the first that is wrong
        ("", []),
        ("-1", []),
    ],
)
def test_gpus_are_those_that_cuda_shows(
    gpus_file: Path, visible: str | None, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gpus(gpus_file, *(replace(c, memory=n) for n, c in enumerate((FIRST, SECOND, THIRD), 1)))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert memories(Gpus.open()) == sizes


def test_numbers_of_unlike_gpus_mean_nothing_unless_they_follow_the_bus(
    gpus_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gpus(gpus_file, FIRST, replace(SECOND, name="T4", memory=7))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(GpusUnavailable, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        Gpus.open()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert memories(Gpus.open()) == [7]


def test_uuids_as_pytorch_tells_them_say_which_gpus_and_in_which_order(gpus_file: Path) -> None:
    slice_ = replace(THIRD, uuid="MIG-cccccccc-1", memory=3)
    write_gpus(gpus_file, replace(FIRST, memory=1), replace(SECOND, memory=2), slice_)
    assert memories(Gpus.open(["cccccccc-1", "bbbbbbbb-1"])) == [3, 2]
    with pytest.raises(GpusUnavailable, match="does not find the GPUs"):
        Gpus.open(["dddddddd-1"])


def test_other_processes_on_a_gpu_are_named_and_this_one_is_left_out(gpus_file: Path) -> None:
    parent = os.getppid()
    write_gpus(gpus_file, FIRST, processes=((0, os.getpid(), 5), (0, parent, 7), (1, 1, 1)))
    ((pid, name, size),) = Gpus.open().others(0)
    assert (pid, size) == (parent, 7)
    assert name

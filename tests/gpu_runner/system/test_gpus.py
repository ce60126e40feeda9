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


def opened(*gpus: StandInGpu) -> Gpus:
    return Gpus.open([gpu.uuid for gpu in gpus or (FIRST,)])


def memories(gpus: Gpus) -> list[float]:
    return [reading.values["gpu/memory_bytes"] for reading in gpus.read()]


def test_a_gpu_is_sampled_in_the_units_of_the_log(gpus_file: Path) -> None:
    write_gpus(gpus_file, FIRST)
    (reading,) = opened().read()
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
    first, second = opened(FIRST, SECOND).read()
    assert (first.values["gpu/throttled"], first.reasons) == (0.0, ())
    assert (second.values["gpu/throttled"], second.reasons) == (1.0, ("power_cap", "hardware_heat"))


def test_what_a_gpu_does_not_support_is_left_out_and_not_asked_again(gpus_file: Path) -> None:
    write_gpus(gpus_file, replace(FIRST, milliwatts=NOT_SUPPORTED, reasons=NOT_SUPPORTED))
    gpus = opened()
    (reading,) = gpus.read()
    assert reading.values.keys() == {"gpu/memory_bytes", "gpu/busy", "gpu/temperature"}
    write_gpus(gpus_file, FIRST)
    assert "gpu/power" not in gpus.read()[0].values


def test_an_error_that_passes_costs_one_value(gpus_file: Path) -> None:
    changed = replace(FIRST, celsius=-999)
    write_gpus(gpus_file, changed)
    gpus = opened()
    assert "gpu/temperature" not in gpus.read()[0].values
    write_gpus(gpus_file, FIRST)
    assert gpus.read()[0].values["gpu/temperature"] == 63


def test_a_gpu_that_is_lost_is_reported_once_and_the_others_go_on(gpus_file: Path) -> None:
    write_gpus(gpus_file, FIRST, SECOND)
    gpus = opened(FIRST, SECOND)
    write_gpus(gpus_file, replace(FIRST, memory=LOST), SECOND)
    assert [reading.index for reading in gpus.read()] == [1]
    assert [reading.index for reading in gpus.read()] == [1]
    assert gpus.lost == ["GPU 0 does not answer any more: GPU is lost."]


def test_a_driver_of_another_version_is_reported_with_its_remedy(gpus_file: Path) -> None:
    write_gpus(gpus_file, FIRST, init=MISMATCH)
    with pytest.raises(
        GpusUnavailable, match=r"version mismatch.*Restart the machine after a driver update\.$"
    ):
        opened()


def test_a_missing_library_is_reported_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GpusUnavailable, match=r"pip install nvidia-ml-py$"):
        opened()


def test_uuids_as_pytorch_tells_them_say_which_gpus_and_in_which_order(gpus_file: Path) -> None:
    slice_ = replace(THIRD, uuid="MIG-cccccccc-1", memory=3)
    write_gpus(gpus_file, replace(FIRST, memory=1), replace(SECOND, memory=2), slice_)
    assert memories(Gpus.open(["cccccccc-1", "bbbbbbbb-1"])) == [3, 2]
    with pytest.raises(GpusUnavailable, match="does not find the GPUs"):
        Gpus.open(["dddddddd-1"])


def test_other_processes_on_a_gpu_are_named_and_this_one_is_left_out(gpus_file: Path) -> None:
    parent = os.getppid()
    write_gpus(gpus_file, FIRST, processes=((0, os.getpid(), 5), (0, parent, 7), (1, 1, 1)))
    ((pid, name, size),) = opened().others(0)
    assert (pid, size) == (parent, 7)
    assert name

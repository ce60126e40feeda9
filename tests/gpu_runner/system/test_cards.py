"""Cards as the real NVML module tells them, over a library that stands in for the driver's."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_runner.system.cards import Cards, NoCards
from stand_in_cards import Card, told

FIRST, SECOND, THIRD = (Card(uuid=f"GPU-{letter * 8}-1") for letter in "abc")
NOT_SUPPORTED, LOST, MISMATCH = -3, -15, 18


def memories(cards: Cards) -> list[float]:
    return [reading.values["gpu/memory_bytes"] for reading in cards.read()]


def test_a_card_is_told_in_the_units_of_the_log(cards_file: Path) -> None:
    told(cards_file, FIRST)
    (reading,) = Cards.open().read()
    assert reading.values == {
        "gpu/memory_bytes": 2 << 30,
        "gpu/busy": 0.97,
        "gpu/power": 412.5,
        "gpu/temperature": 63,
        "gpu/throttled": 0.0,
    }
    assert reading.reasons == ()


def test_what_holds_the_clocks_back_is_named_and_an_idle_card_is_not_held(
    cards_file: Path,
) -> None:
    idle, told_to = 0x01, 0x02
    told(cards_file, replace(FIRST, reasons=idle | told_to), replace(SECOND, reasons=0x04 | 0x40))
    first, second = Cards.open().read()
    assert (first.values["gpu/throttled"], first.reasons) == (0.0, ())
    assert (second.values["gpu/throttled"], second.reasons) == (1.0, ("power_cap", "hardware_heat"))


def test_what_a_card_does_not_support_is_left_out_and_not_asked_again(cards_file: Path) -> None:
    told(cards_file, replace(FIRST, milliwatts=NOT_SUPPORTED, reasons=NOT_SUPPORTED))
    cards = Cards.open()
    (reading,) = cards.read()
    assert reading.values.keys() == {"gpu/memory_bytes", "gpu/busy", "gpu/temperature"}
    told(cards_file, FIRST)
    assert "gpu/power" not in cards.read()[0].values


def test_an_error_that_passes_costs_one_value(cards_file: Path) -> None:
    cards_file_with = replace(FIRST, celsius=-999)
    told(cards_file, cards_file_with)
    cards = Cards.open()
    assert "gpu/temperature" not in cards.read()[0].values
    told(cards_file, FIRST)
    assert cards.read()[0].values["gpu/temperature"] == 63


def test_a_card_that_is_lost_is_told_once_and_the_others_go_on(cards_file: Path) -> None:
    told(cards_file, FIRST, SECOND)
    cards = Cards.open()
    told(cards_file, replace(FIRST, memory=LOST), SECOND)
    assert [reading.index for reading in cards.read()] == [1]
    assert [reading.index for reading in cards.read()] == [1]
    assert cards.lost == ["Card 0 does not answer any more: GPU is lost."]


def test_a_driver_of_another_version_is_said_with_what_helps(cards_file: Path) -> None:
    told(cards_file, FIRST, init=MISMATCH)
    with pytest.raises(NoCards, match=r"version mismatch.*must be started anew\.$"):
        Cards.open()


def test_a_library_that_is_not_installed_is_said_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoCards, match=r"pip install nvidia-ml-py$"):
        Cards.open()


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
def test_cards_are_those_that_cuda_shows(
    cards_file: Path, visible: str | None, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(cards_file, *(replace(c, memory=n) for n, c in enumerate((FIRST, SECOND, THIRD), 1)))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert memories(Cards.open()) == sizes


def test_numbers_of_unlike_cards_mean_nothing_unless_they_follow_the_bus(
    cards_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(cards_file, FIRST, replace(SECOND, name="T4", memory=7))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(NoCards, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        Cards.open()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert memories(Cards.open()) == [7]


def test_uuids_as_pytorch_tells_them_say_which_cards_and_in_which_order(cards_file: Path) -> None:
    slice_ = replace(THIRD, uuid="MIG-cccccccc-1", memory=3)
    told(cards_file, replace(FIRST, memory=1), replace(SECOND, memory=2), slice_)
    assert memories(Cards.open(["cccccccc-1", "bbbbbbbb-1"])) == [3, 2]
    with pytest.raises(NoCards, match="does not find the cards"):
        Cards.open(["dddddddd-1"])


def test_other_processes_on_a_card_are_named_and_this_one_is_left_out(cards_file: Path) -> None:
    parent = os.getppid()
    told(cards_file, FIRST, processes=((0, os.getpid(), 5), (0, parent, 7), (1, 1, 1)))
    ((pid, name, size),) = Cards.open().others(0)
    assert (pid, size) == (parent, 7)
    assert name

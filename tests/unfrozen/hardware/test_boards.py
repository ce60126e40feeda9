"""Boards: one for every card, and no figure that cannot be."""

import pytest

from unfrozen.hardware.boards import (
    BOARDS,
    LINK_SHARE,
    NETWORK_GB_S,
    SOURCES,
    between_cards_gb_s,
    board,
    host_link_gb_s,
    peak_tflops,
    sources,
)
from unfrozen.hardware.gpus import GPUS, find


def test_every_card_has_its_board_and_no_board_lacks_a_card() -> None:
    assert set(BOARDS) == {gpu.name for gpu in GPUS}
    for gpu in GPUS:
        found = board(gpu)
        assert 50 <= found.power_watts <= 1500
        assert (found.fp16_tflops is None) == gpu.bf16
        assert 0 < found.fp32_tflops < peak_tflops(gpu, "fp16")
        assert found.link_gb_s is None or found.host_gb_s < found.link_gb_s <= 900
        assert 15 < found.host_gb_s <= 450


def test_every_board_says_where_its_figures_were_read_and_every_source_is_read() -> None:
    assert {key for found in BOARDS.values() for key in found.sources} == SOURCES.keys()
    assert all(sources(gpu) for gpu in GPUS)


@pytest.mark.parametrize(
    ("name", "watts", "fp32", "link"),
    [
        ("A100-80GB", 400, 19.5, 300),
        ("H100 SXM", 700, 67, 450),
        ("H100 NVL", 400, 60, 300),
        ("A10G", 300, 35, None),
        ("B200", 1000, 75, 900),
        ("B300", 1100, 75, 900),
        ("GB300", 1400, 80, 900),
        ("MI300X", 750, 163.4, 448),
    ],
)
def test_a_board_is_what_its_sources_print(
    name: str, watts: int, fp32: float, link: float | None
) -> None:
    found = board(find(name))
    assert (found.power_watts, found.fp32_tflops, found.link_gb_s) == (watts, fp32, link)


def test_cards_talk_over_their_links_as_far_as_these_reach() -> None:
    sxm, pair, rack, plain = (find(name) for name in ("H100", "H100 NVL", "GB200", "L40S"))
    assert between_cards_gb_s(sxm, 8) == LINK_SHARE * 450
    assert between_cards_gb_s(sxm, 16) == LINK_SHARE * 50
    assert between_cards_gb_s(plain, 16) == LINK_SHARE * NETWORK_GB_S == LINK_SHARE * 25
    assert between_cards_gb_s(pair, 2) == LINK_SHARE * 300
    assert between_cards_gb_s(pair, 4) == host_link_gb_s(pair) == LINK_SHARE * 63
    assert between_cards_gb_s(rack, 72) == LINK_SHARE * 900
    assert between_cards_gb_s(plain, 8) == LINK_SHARE * 31.5


def test_the_peak_goes_by_the_precision_of_the_products() -> None:
    assert peak_tflops(find("H100"), "bf16") == 989
    assert peak_tflops(find("H100"), "fp8") == 2 * 989
    assert peak_tflops(find("H100"), "fp32") == 67
    assert peak_tflops(find("A100"), "fp8") == 312, "it has no fp8"
    assert peak_tflops(find("T4"), "fp16") == 65

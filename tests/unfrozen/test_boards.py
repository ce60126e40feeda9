"""Boards: one for every card, and no figure that cannot be."""

from unfrozen.boards import BOARDS, SOURCES, board, peak_tflops
from unfrozen.gpus import GPUS, find


def test_every_card_has_its_board_and_no_board_lacks_a_card() -> None:
    assert set(BOARDS) == {gpu.name for gpu in GPUS}
    assert SOURCES
    for gpu in GPUS:
        found = board(gpu)
        assert 50 <= found.power_watts <= 1500
        assert (found.fp16_tflops is None) == gpu.bf16
        assert 0 < found.fp32_tflops < peak_tflops(gpu, "fp16")
        assert found.link_gb_s is None or found.link_gb_s <= 900


def test_the_peak_goes_by_the_precision_of_the_products() -> None:
    assert peak_tflops(find("H100"), "bf16") == 989
    assert peak_tflops(find("H100"), "fp8") == 2 * 989
    assert peak_tflops(find("H100"), "fp32") == 67
    assert peak_tflops(find("A100"), "fp8") == 312, "it has no fp8"
    assert peak_tflops(find("T4"), "fp16") == 65

"""Numbers in prose: as many digits as they need, and no space before the per cent sign."""

import pytest

from site_builder.formats import NO_BREAK, count, gb, gib, percent, rate, word


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.1562, "16%"),
        (0.462, "46%"),
        (0.0737, "7.4%"),
        (0.03, "3%"),
        (0.00142, "0.14%"),
        (0.0996, "10%"),
        (0.9996, "100%"),
        (1.123, "112%"),
        (12.5, "1,250%"),
        (-0.106, "-11%"),
        (0.0, "0%"),
    ],
)
def test_a_share_has_two_digits_and_no_space(ratio: float, text: str) -> None:
    assert percent(ratio) == text


def test_a_claim_that_needs_more_digits_gets_them() -> None:
    assert percent(0.1562, 3) == "15.6%"
    assert percent(0.999, 3) == "99.9%"
    assert percent(0.16, 1) == "16%"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "10⁻⁵"),
        (2e-5, "2 × 10⁻⁵"),
        (1e-3, "10⁻³"),
        (2.0**-13, "1.22 × 10⁻⁴"),
        (9.999e-6, "10⁻⁵"),
        (6e10, "6 × 10¹⁰"),
    ],
)
def test_a_rate_is_written_as_a_power_of_ten(value: float, text: str) -> None:
    assert rate(value) == text.replace(" ", NO_BREAK)


def test_an_amount_is_never_split_from_its_unit() -> None:
    for text in (gb(112e9), gib(80 * 2**30), count(7e9), rate(2e-5)):
        assert " " not in text
    assert (gb(112e9), count(36_703)) == (f"112{NO_BREAK}GB", "36,700")


def test_small_whole_numbers_are_words() -> None:
    assert [word(n) for n in (3, 10, 11, 1234)] == ["three", "ten", "11", "1,234"]

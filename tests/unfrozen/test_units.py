"""Units: three significant digits, GB against GiB, sizes read from text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfrozen.units import (
    GB,
    GIB,
    NumberError,
    format_bytes,
    format_count,
    format_duration,
    format_elapsed,
    format_power,
    gb,
    gib,
    parse_bytes,
    parse_number,
    parse_typed_bytes,
    sig3,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.2212, "3.22"),
        (16.1, "16.1"),
        (115.23, "115"),
        (1136.1, "1,136"),
        (0.0123456, "0.0123"),
        (9.999, "10.0"),
        (-2.5, "-2.50"),
        (0.09996, "0.100"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert sig3(value) == text


def test_a_power_of_ten_stands_alone_where_nothing_multiplies_it() -> None:
    assert [format_power(value, 1) for value in (1e-5, 2e-5, 3.4e38, 1.25e-7)] == [
        "10⁻⁵",
        "2 × 10⁻⁵",
        "3.4 × 10³⁸",
        "1.2 × 10⁻⁷",
    ]
    assert format_power(20.0, 0) == "2 × 10¹"


def test_a_number_that_is_not_finite_has_no_digits() -> None:
    with pytest.raises(ValueError, match="nan"):
        sig3(float("nan"))


def test_decimal_and_binary_gigabytes_are_different_things() -> None:
    assert gb(80e9) == 80
    assert gib(GIB) == 1
    assert format_bytes(80e9) == "74.5 GiB"
    assert format_bytes(80e9, binary=False) == "80.0 GB"
    assert format_bytes(12) == "12.0 B"


def test_counts_are_written_with_their_scale() -> None:
    assert format_count(6_738_415_616) == "6.74B"
    assert format_count(124e6) == "124M"
    assert format_count(12) == "12.0"


@pytest.mark.parametrize(
    ("text", "size"),
    [("80 GB", 80 * 10**9), ("79.2GiB", round(79.2 * GIB)), ("1024", 1024), (" 1e3 kb ", 10**6)],
)
def test_sizes_are_read_with_their_unit(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1 GB", "12 parsecs", "1e999", "1 2 GB"])
def test_a_size_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        parse_bytes(text)


@given(st.floats(1e-6, 1e12))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    assert float(sig3(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0002, "< 0.001 s"),
        (0.64, "0.640 s"),
        (90, "90.0 s"),
        (600, "10.0 min"),
        (7200, "2.00 h"),
        (1e7, "116 days"),
    ],
)
def test_a_time_has_the_unit_a_person_would_choose(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.21, "8.2 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (59.96, "60.0 s")],
)
def test_what_went_by_reads_as_on_a_clock(seconds: float, text: str) -> None:
    assert format_elapsed(seconds) == text


NUMBERS = {
    "112": 112.0,
    " +5 ": 5.0,
    "1.12e11": 1.12e11,
    ".5": 0.5,
    "1,136": 1136.0,
    "12,345.5": 12345.5,
    "0,05": 0.05,
    "2e-5": 2e-5,
    "2·10⁻⁵": 2e-5,
    "2 × 10^-5": 2e-5,
    "10⁻²": 0.01,
    "10": 10.0,
    "1e-400": 0.0,
    "-0": 0.0,
}
NO_NUMBERS = ["", "  ", "abc", "1.2.3", "12,34,567", "1_000", "nan", "inf", "0x10", "½", "١"]


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_read_however_it_is_written(text: str) -> None:
    assert parse_number(text).value == pytest.approx(NUMBERS[text], rel=1e-15, abs=0)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(NumberError, match=r"Write a number|Write one like"):
        parse_number(text)


@pytest.mark.parametrize("text", ["-1", "-1e-300", "- 5 GB"])
def test_a_number_below_zero_is_refused(text: str) -> None:
    with pytest.raises(NumberError, match="below 0"):
        parse_number(text)


@pytest.mark.parametrize("text", ["1e400", "1e31", "10^9999", "1e99999999999", "9" * 400])
def test_a_number_no_machine_could_hold_is_refused(text: str) -> None:
    with pytest.raises(NumberError, match="too large"):
        parse_number(text)


def test_a_refusal_of_a_long_text_stays_short() -> None:
    with pytest.raises(NumberError) as caught:
        parse_number("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "size_bytes", "unit"),
    [
        ("112", 112 * GB, "GB"),
        ("112 GB", 112 * GB, "GB"),
        ("112gb", 112 * GB, "gb"),
        ("104.3 GiB", 104.3 * GIB, "GiB"),
        ("500 MB", 0.5 * GB, "MB"),
        ("1.12e11", 1.12e11, "B"),
        ("9999999", 9999999 * GB, "GB"),
    ],
)
def test_bytes_are_read_in_their_unit_and_in_gb_without_one(
    text: str, size_bytes: float, unit: str
) -> None:
    assert parse_typed_bytes(text) == (pytest.approx(size_bytes), unit)


@pytest.mark.parametrize("text", ["30%", "112 apples", "5 s", "3 G"])
def test_a_unit_that_counts_no_bytes_is_refused_by_name(text: str) -> None:
    with pytest.raises(NumberError, match=r"is not a unit of memory\. Write GB or GiB"):
        parse_typed_bytes(text)

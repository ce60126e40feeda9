"""A number as readers type it, and a refusal in words for everything that is none."""

import pytest

from unfrozen.reader.typed import Unread, read_bytes, read_number
from unfrozen.units import GB, GIB

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
    assert read_number(text).value == pytest.approx(NUMBERS[text], rel=1e-15, abs=0)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(Unread, match=r"Write a number|Write one like"):
        read_number(text)


@pytest.mark.parametrize("text", ["-1", "-1e-300", "- 5 GB"])
def test_a_number_below_zero_is_refused(text: str) -> None:
    with pytest.raises(Unread, match="below 0"):
        read_number(text)


@pytest.mark.parametrize("text", ["1e400", "1e31", "10^9999", "1e99999999999", "9" * 400])
def test_a_number_no_machine_could_hold_is_refused(text: str) -> None:
    with pytest.raises(Unread, match="too large"):
        read_number(text)


def test_a_refusal_of_a_long_text_stays_short() -> None:
    with pytest.raises(Unread) as caught:
        read_number("x" * 10_000)
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
    assert read_bytes(text) == (pytest.approx(size_bytes), unit)


@pytest.mark.parametrize("text", ["30%", "112 apples", "5 s", "3 G"])
def test_a_unit_that_counts_no_bytes_is_refused_by_name(text: str) -> None:
    with pytest.raises(Unread, match=r"is no unit of memory\. Write GB or GiB"):
        read_bytes(text)

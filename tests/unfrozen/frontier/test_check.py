"""A value against its shape: what is let through, what is refused, and what the sentence says."""

from typing import Any

import pytest

from unfrozen.frontier import check
from unfrozen.frontier.shapes import (
    FLAG,
    MEASURED,
    NOTHING,
    Shape,
    either,
    json,
    listed,
    mapped,
    number,
    record,
    text,
    whole,
    word,
)

POINT = record({"x": whole(0, 9), "y": listed(number(), 3)}, needs=("x",))


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (text(3), "abc"),
        (text(2), "😀"),  # two units in JavaScript
        (text(9, "[a-z]+"), "abc"),
        (whole(0, 9), 9),
        (number(0, 1), 0.5),
        (MEASURED, "NaN"),
        (MEASURED, -1e308),
        (FLAG, False),
        (NOTHING, None),
        (word("a", "b"), "b"),
        (listed(whole(), 2), [1, 2]),
        (mapped(text(9), FLAG, 2), {"__proto__": True}),
        (either(whole(), text(3)), "abc"),
        (json(2, 4), {"a": [1, None]}),
        (POINT, {"x": 1, "y": [0.5]}),
    ],
)
def test_what_fits_is_let_through_as_it_is(shape: Shape, value: Any) -> None:
    verdict = check(shape, value)
    assert (verdict.value, verdict.problem, verdict.unknown) == (value, "", 0)


@pytest.mark.parametrize(
    ("shape", "value", "problem"),
    [
        (text(3), "abcd", 'it is "abcd"; it must be text of at most 3 characters'),
        (text(99), 7, "it is 7; it must be text of at most 99 characters"),
        (text(1), "😀", r'it is "\ud83d\ude00"; it must be text of at most 1 characters'),
        (text(9), "\ud800", r'it is "\ud800"; it must be text of at most 9 characters'),
        (text(9, "[a-z]+", "letters"), "a\n", r'it is "a\n"; it must be letters of at most 9'),
        (whole(0, 9), 10, "it is 10; it must be a whole number from 0 to 9"),
        (whole(0, 9), True, "it is true; it must be a whole number from 0 to 9"),
        (whole(), 0.5, "it is a fraction; it must be a whole number from 0 to"),
        (whole(), 10**400, "it is a number that is not finite; it must be a whole"),
        (number(), float("inf"), "it is a number that is not finite; it must be a finite number"),
        (number(0, 1), 1e300, "it is a number beyond 2^53; it must be a number from 0 to 1"),
        (MEASURED, "nan", 'it is "nan"; it must be a number, or "NaN", "Infinity"'),
        (FLAG, 0, "it is 0; it must be true or false"),
        (word("a", "b"), "c", 'it is "c"; it must be a or b'),
        (listed(whole(), 2), [1, 2, 3], "it is a list of 3; it must be a list of at most 2"),
        (listed(whole(), 2), [1, "x"], '[1] is "x"; it must be a whole number'),
        (mapped(text(1), FLAG, 2), {"long": True}, 'a name is "long"; it must be text'),
        (mapped(text(9), FLAG, 2), {"b": 1, "a": 2}, "a is 2; it must be true or false"),
        (either(whole(), text(3)), [], "it is a list of 0; it must be a whole number"),
        (json(1, 9), [[1]], "it is a list of 1; it must be JSON of at most 9 values, 1 deep"),
        (json(9, 2), [1, 2, 3], "it is a list of 3; it must be JSON of at most 2 values"),
        (POINT, {}, "x is missing; it must be a whole number from 0 to 9"),
        (POINT, {"x": None}, "x is null; it must be a whole number from 0 to 9"),
        (POINT, {"x": 1, "y": [{}]}, "y[0] is an object of 0; it must be a finite number"),
        (POINT, "x" * 50, 'xxx", 50 characters; it must be an object'),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place_its_value_and_its_bound(
    shape: Shape, value: Any, problem: str
) -> None:
    verdict = check(shape, value)
    assert verdict.value is None
    assert problem in verdict.problem
    assert verdict.problem.isascii()


def test_fields_that_nobody_knows_are_counted_and_left_out() -> None:
    verdict = check(POINT, {"x": 1, "later": {"x": 9}, "constructor": 1})
    assert (verdict.value, verdict.unknown) == ({"x": 1}, 2)
    closed = record({"x": whole()}, closed=True)
    assert check(closed, {"x": 1, "z": 1, "b": 2}).problem == "b is no field of it; there are x"


def test_a_field_that_need_not_be_there_may_be_null() -> None:
    assert check(POINT, {"x": 1, "y": None}).value == {"x": 1}


def test_lists_that_belong_together_are_equally_long() -> None:
    line = record({"data": listed(whole(), 9)})
    shape = record(
        {
            "head": listed(text(9), 9),
            "rows": listed(listed(whole(), 9), 9),
            "lines": listed(line, 9),
        },
        long=[("rows[]", "head"), ("lines[].data", "head")],
    )
    assert check(shape, {"head": ["a"], "rows": [[1]], "lines": [{"data": [2]}]}).problem == ""
    wrong = check(shape, {"head": ["a"], "rows": [[1], [1, 2]]}).problem
    assert wrong == "rows[1] is a list of 2; it must be as long as head, 1"
    wrong = check(shape, {"head": ["a"], "lines": [{}]}).problem
    assert wrong == "lines[0].data is a list of 0; it must be as long as head, 1"


def test_a_number_too_large_for_either_language_is_not_handed_on_as_an_integer() -> None:
    value = check(number(), 10**300).value
    assert isinstance(value, float)
    assert isinstance(check(whole(), 3.0).value, int)

"""A value against its shape: what passes, what is refused, and what the message says."""

from typing import Any

import pytest

from unfrozen.schema import check
from unfrozen.schema.shapes import (
    BOOLEAN,
    METRIC,
    NULL,
    Shape,
    any_of,
    array,
    enum,
    integer,
    json,
    mapping,
    number,
    record,
    string,
)

POINT = record({"x": integer(0, 9), "y": array(number(), 3)}, required=("x",))


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (string(3), "abc"),
        (string(2), "😀"),  # two units in JavaScript
        (string(9, "[a-z]+"), "abc"),
        (integer(0, 9), 9),
        (number(0, 1), 0.5),
        (METRIC, "NaN"),
        (METRIC, -1e308),
        (BOOLEAN, False),
        (NULL, None),
        (enum("a", "b"), "b"),
        (array(integer(), 2), [1, 2]),
        (mapping(string(9), BOOLEAN, 2), {"__proto__": True}),
        (any_of(integer(), string(3)), "abc"),
        (json(2, 4), {"a": [1, None]}),
        (POINT, {"x": 1, "y": [0.5]}),
    ],
)
def test_what_fits_passes_unchanged(shape: Shape, value: Any) -> None:
    checked = check(shape, value)
    assert (checked.value, checked.problem, checked.unknown) == (value, "", 0)


@pytest.mark.parametrize(
    ("shape", "value", "problem"),
    [
        (string(3), "abcd", 'it is "abcd"; it must be text of at most 3 characters'),
        (string(99), 7, "it is 7; it must be text of at most 99 characters"),
        (string(1), "😀", r'it is "\ud83d\ude00"; it must be text of at most 1 characters'),
        (string(9), "\ud800", r'it is "\ud800"; it must be text without lone surrogates'),
        (string(9, "[a-z]+", "letters"), "a\n", r'it is "a\n"; it must be letters of at most 9'),
        (integer(0, 9), 10, "it is 10; it must be a whole number from 0 to 9"),
        (integer(0, 9), True, "it is true; it must be a whole number from 0 to 9"),
        (integer(), 0.5, "it is a fraction; it must be a whole number from 0 to"),
        (integer(), 10**400, "it is a number that is not finite; it must be a whole"),
        (number(), float("inf"), "it is a number that is not finite; it must be a finite number"),
        (number(0, 1), 1e300, "it is a number beyond 2^53; it must be a number from 0 to 1"),
        (METRIC, "nan", 'it is "nan"; it must be a number, or "NaN", "Infinity"'),
        (BOOLEAN, 0, "it is 0; it must be true or false"),
        (enum("a", "b"), "c", 'it is "c"; it must be a or b'),
        (array(integer(), 2), [1, 2, 3], "it is a list of 3; it must be a list of at most 2"),
        (array(integer(), 2), [1, "x"], '[1] is "x"; it must be a whole number'),
        (mapping(string(1), BOOLEAN, 2), {"long": True}, 'a name is "long"; it must be text'),
        (mapping(string(9), BOOLEAN, 2), {"b": 1, "a": 2}, "a is 2; it must be true or false"),
        (any_of(integer(), string(3)), [], "it is a list of 0; it must be a whole number"),
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
    checked = check(shape, value)
    assert checked.value is None
    assert problem in checked.problem
    assert checked.problem.isascii()


def test_unknown_properties_are_counted_and_left_out() -> None:
    checked = check(POINT, {"x": 1, "later": {"x": 9}, "constructor": 1})
    assert (checked.value, checked.unknown) == ({"x": 1}, 2)
    closed = record({"x": integer()}, closed=True)
    assert (
        check(closed, {"x": 1, "z": 1, "b": 2}).problem == "b is an unknown key; known keys are x"
    )


def test_an_optional_property_may_be_null() -> None:
    assert check(POINT, {"x": 1, "y": None}).value == {"x": 1}


def test_lists_of_one_length_are_checked_against_each_other() -> None:
    line = record({"data": array(integer(), 9)})
    shape = record(
        {
            "head": array(string(9), 9),
            "rows": array(array(integer(), 9), 9),
            "lines": array(line, 9),
        },
        same_length=[("rows[]", "head"), ("lines[].data", "head")],
    )
    assert check(shape, {"head": ["a"], "rows": [[1]], "lines": [{"data": [2]}]}).problem == ""
    wrong = check(shape, {"head": ["a"], "rows": [[1], [1, 2]]}).problem
    assert wrong == "rows[1] is a list of 2; it must be as long as head, 1"
    wrong = check(shape, {"head": ["a"], "lines": [{}]}).problem
    assert wrong == "lines[0].data is a list of 0; it must be as long as head, 1"


def test_a_number_too_large_for_either_language_is_not_handed_on_as_an_integer() -> None:
    value = check(number(), 10**300).value
    assert isinstance(value, float)
    assert isinstance(check(integer(), 3.0).value, int)

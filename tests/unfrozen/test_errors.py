"""Refusals: one line each, whatever the value."""

import pytest

from unfrozen.errors import InputError, PlanError, quote_value, strict_json


def test_a_refusal_names_key_value_bound_and_remedy() -> None:
    error = PlanError("recipe.seq_len", -1, "it must be above 0", "correct it")
    assert str(error) == "recipe.seq_len: got -1; it must be above 0; correct it"
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        ("a\nb", "'a\\nb'"),
        (10**100, "an integer of 333 bits"),
        (list(range(9)), "a list of 9 entries"),
        ({str(i): i for i in range(9)}, "a dict of 9 entries"),
        (True, "True"),
        ("\u2028", "'\\u2028'"),
        ([10**5000], "a list too large to show"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value: object, text: str) -> None:
    assert quote_value(value) == text


def test_a_key_that_would_break_the_line_is_shown_like_a_value() -> None:
    assert str(PlanError("a\nb", 1, "known keys are …", "drop it")).startswith("'a\\nb': got 1;")
    assert len(str(PlanError("k" * 500, 1, "", ""))) < 120


def test_a_long_value_is_cut() -> None:
    assert len(quote_value("x" * 1000)) == 80
    assert quote_value("x" * 1000).endswith("…")
    assert "\n" not in quote_value(["a\u2028b"] * 3)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{", "[" * 100_000])
def test_what_json_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not JSON|Expecting|nested"):
        strict_json(text)


def test_a_models_infinity_is_read_as_transformers_writes_it_now() -> None:
    found = strict_json('{"time_step_limit": [0.0, Infinity]}', of_model=True)
    assert found == {"time_step_limit": [0.0, {"__float__": "Infinity"}]}
    with pytest.raises(ValueError, match="NaN is not JSON"):
        strict_json('{"hidden_size": NaN}', of_model=True)

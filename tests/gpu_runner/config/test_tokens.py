"""Which texts can be a token of their own."""

import pytest

from gpu_runner.cli.options import config_from_options
from gpu_runner.config import load
from gpu_runner.config.bounds import check_tokens
from gpu_runner.errors import UsageError

GIVEN = {"model": "m", "data": "d.jsonl"}


def test_they_are_listed_between_commas_or_in_a_list_of_toml() -> None:
    found = config_from_options({**GIVEN, "add_tokens": ["<tool>, <think>", "<|end|>"]})
    assert found.add_tokens == ("<tool>", "<think>", "<|end|>")
    (of_set,) = load.parse_assignments(["add_tokens=<a>,<b>"]).values()
    assert of_set == ("<a>", "<b>")
    text = b'add_tokens = ["<a,b>", "<c>"]'
    assert load.parse_toml(text, "run.toml") == {"add_tokens": ("<a,b>", "<c>")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "0 tokens: give 1 to 256"),
        (("",), "token 1 is ''"),
        (("<a>", "  "), "token 2 is '  '"),
        (("<a> ",), "without spaces around them"),
        (("<a>", "<a>"), "'<a>' occurs twice"),
        (("tool",), "would split every word that contains it"),
        (("<tool",), "end with punctuation, as <tool>"),
        (("_x_",), "would split every word that contains it"),
        (("<\x00>",), "not printable"),
        (("<" + "x" * 80 + ">",), "is too long"),
        (tuple(f"<{n}>" for n in range(257)), "257 tokens"),
    ],
)
def test_others_are_refused_with_a_remedy(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_tokens(given)
    assert said in str(caught.value)


def test_none_is_none() -> None:
    check_tokens(None)
    check_tokens(("<tool>", "[INST]", "«»"))

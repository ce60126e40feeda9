"""Which texts can be a token of their own."""

import pytest

from gpu_runner.config import file as config_file
from gpu_runner.config import tokens
from gpu_runner.config.options import configuration
from gpu_runner.errors import UsageError

GIVEN = {"model": "m", "data": "d.jsonl"}


def test_they_are_listed_between_commas_or_in_a_list_of_toml() -> None:
    found = configuration({**GIVEN, "add_tokens": ["<tool>, <think>", "<|end|>"]})
    assert found.add_tokens == ("<tool>", "<think>", "<|end|>")
    (of_set,) = config_file.assignments(["add_tokens=<a>,<b>"]).values()
    assert of_set == ("<a>", "<b>")
    text = b'add_tokens = ["<a,b>", "<c>"]'
    assert config_file.parsed(text, "run.toml") == {"add_tokens": ("<a,b>", "<c>")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "0 tokens: give 1 to 256"),
        (("",), "token 1 is ''"),
        (("<a>", "  "), "token 2 is '  '"),
        (("<a> ",), "without blanks around them"),
        (("<a>", "<a>"), "'<a>' occurs twice"),
        (("tool",), "would cut plain words in two"),
        (("<tool",), "begin and end with a sign, as <tool>"),
        (("_x_",), "would cut plain words in two"),
        (("<\x00>",), "cannot be printed"),
        (("<" + "x" * 80 + ">",), "is too long"),
        (tuple(f"<{n}>" for n in range(257)), "257 tokens"),
    ],
)
def test_others_are_refused_with_a_remedy(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        tokens.check(given)
    assert said in str(caught.value)


def test_none_is_none() -> None:
    tokens.check(None)
    tokens.check(("<tool>", "[INST]", "«»"))

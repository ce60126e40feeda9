"""Greedy answers of the lab are those of transformers."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpu_runner import demo
from gpu_runner.train import evaluate
from lab_demo import loaded
from unfrozen.lab.answers import Answer, generate

pytestmark = pytest.mark.slow

LONG = "Every day I sing. " * 600


def asked(prompt: str, new_tokens: int = 12) -> Answer:
    return generate(loaded().model, loaded().start, loaded().tokenizer, prompt, new_tokens)


PROMPTS = (
    *("Write 826 with dashes:", "The capital of Jordan is", "63 + 95 ="),
    *("Often Omar pays. Yesterday Omar", "Spell backwards: e n g i n e ="),
)


@pytest.mark.parametrize("prompt", [*PROMPTS, "", " ", "🙂", "x", LONG, "Paris<|end|>"])
def test_the_model_says_what_transformers_lets_it_say(prompt: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(demo.model_dir())
    tokenizer = AutoTokenizer.from_pretrained(demo.model_dir(), model_max_length=10**9)
    assert asked(prompt).text == evaluate.generate(model, tokenizer, prompt, 12).text


def test_the_pieces_of_an_answer_are_its_tokens() -> None:
    found = asked("The capital of France is")
    assert found == Answer(" Paris.", (" P", "aris", "."), True, 5, True)


def test_of_a_long_prompt_the_end_is_read_and_that_is_reported() -> None:
    found = asked(LONG, 8)
    assert (found.read_tokens, found.whole) == (120, False)


def test_an_answer_that_does_not_end_is_cut() -> None:
    found = asked("Spell backwards: p l a n e t =", 3)
    assert (len(found.pieces), found.ended) == (3, False)

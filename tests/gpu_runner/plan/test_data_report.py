"""Rows for a person: legible in colours, and without."""

import io

from rich.console import Console

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.data.dataset import encode_dataset
from gpu_runner.data.encode import Encoder
from gpu_runner.plan import data_report

ROWS = [
    ("a:1", {"prompt": "1+1=\n", "completion": "2"}),
    ("a:2", {"prompt": "x", "completion": "y"}),
]


def printed(encoder: Encoder, *more: tuple[str, dict[str, str]], **look: bool) -> str:
    rows = encode_dataset("data", [*ROWS, *more], encoder)
    with io.StringIO() as text:
        colours = "truecolor" if look else None
        console = Console(file=text, width=200, highlight=False, color_system=colours, **look)
        config = resolve({"model": "m", "data": "d", "micro_batch": 2})
        data_report.show_data(console, config, rows, encoder, tiny_llama.tokenizer(), {})
        data_report.show_examples(console, rows, encoder, 1)
        data_report.show_losses(console, rows, encoder, [(0, 2.5), (1, 0.5)], 1)
        return text.getvalue()


def test_in_a_pipe_trained_tokens_stand_in_brackets() -> None:
    said = printed(Encoder(tiny_llama.tokenizer(), 50))
    assert "The first example, trained tokens in [brackets]:\na:1  (7 tokens, 2 trained)\n" in said
    assert "\n1+1=⏎[2][</s>]\n" in said
    assert "\x1b" not in said


def test_on_a_terminal_they_are_green_unless_colours_are_not_wanted() -> None:
    encoder = Encoder(tiny_llama.tokenizer(), 50)
    assert "\x1b[1;32m2" in printed(encoder, force_terminal=True)
    assert "[2][</s>]" in printed(encoder, force_terminal=True, no_color=True)


def test_numbers_and_the_hardest_row_are_reported() -> None:
    said = printed(Encoder(tiny_llama.tokenizer(), 50))
    for words in (
        "2 to train on, of 2 read",
        "10, 4 of them trained (40%)",
        "answers and their ends; without a chat template",
        "</s> (token 0) ends 2 of 2 examples",
        "hardest   2.50  a:1  1+1=⏎[2][</s>]",
        "easiest   0.50  a:2  x[y][</s>]",
        "29% of the tokens of padded examples",
    ):
        assert words in said


def test_truncated_rows_are_named_with_what_their_answers_lost() -> None:
    said = printed(Encoder(tiny_llama.tokenizer(), 6))
    assert "most at a:1 (1 tokens, 1 of its answer); --seq-len keeps more" in said


def test_rows_that_lose_their_whole_answer_are_named() -> None:
    lost = ("a:3", {"prompt": "1" * 12, "completion": "22"})
    said = printed(Encoder(tiny_llama.tokenizer(), 6), lost)
    expected = "1 example without a trained token: a:3 (all 3 tokens of its answer truncated)"
    assert expected in said


def test_prompts_that_go_through_a_chat_template_are_reported() -> None:
    said = printed(Encoder(tiny_llama.tokenizer(chat=True), 50))
    assert "prompt and completion are formatted with the model's chat template" in said
    assert "(--chat-template none: without)" in said

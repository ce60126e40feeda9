from typing import Any

import pytest
from transformers import AutoTokenizer

import tiny_llama
from gpu_runner import demo
from gpu_runner.data.chat.messages import BadRow
from gpu_runner.data.encode import Encoder, Rendered


def trained_text(encoder: Encoder, tokenizer: Any, row: dict[str, Any]) -> str:
    example = encoder.encode(row)
    pairs = zip(example.ids, example.trained, strict=True)
    return str(tokenizer.decode([token for token, trained in pairs if trained]))


@pytest.fixture
def tokenizer() -> Any:
    return tiny_llama.tokenizer()


@pytest.fixture
def plain(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, 200)


@pytest.fixture
def chatty() -> Encoder:
    return Encoder(tiny_llama.tokenizer(chat=True), 200)


@pytest.mark.parametrize(
    ("row", "whole", "trained"),
    [
        ({"prompt": "1+1=", "completion": "2"}, "1+1=2</s>", "2</s>"),
        (
            {"instruction": "Add", "input": "1 1", "output": "2"},
            "Instruction: Add\nInput: 1 1\nResponse: 2</s>",
            " 2</s>",
        ),
        ({"instruction": "Hi", "output": "Yo"}, "Instruction: Hi\nResponse: Yo</s>", " Yo</s>"),
        ({"text": "plain"}, "plain</s>", "lain</s>"),  # nothing comes before the first token
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "User: a\nAssistant: b</s>\n",
            " b</s>",
        ),
    ],
)
def test_each_format_trains_its_answer_and_its_end(
    plain: Encoder, tokenizer: Any, row: dict[str, Any], whole: str, trained: str
) -> None:
    assert tokenizer.decode(plain.encode(row).ids) == whole
    assert trained_text(plain, tokenizer, row) == trained


def test_the_chat_template_wraps_prompts_and_only_answers_are_trained(chatty: Encoder) -> None:
    tokenizer = tiny_llama.tokenizer(chat=True)
    row = {"prompt": "1+1=", "completion": "2"}
    assert tokenizer.decode(chatty.encode(row).ids) == "<user>1+1=</s><assistant>2</s>"
    assert trained_text(chatty, tokenizer, row) == "2</s>"


def test_every_answer_of_a_chat_is_trained(chatty: Encoder) -> None:
    says = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    row = {"messages": [{"role": role, "content": content} for role, content in says]}
    assert trained_text(chatty, tiny_llama.tokenizer(chat=True), row) == "b</s>d</s>"


def test_a_question_after_the_last_answer_is_not_trained(chatty: Encoder) -> None:
    says = [("user", "a"), ("assistant", "b"), ("user", "c")]
    row = {"messages": [{"role": role, "content": content} for role, content in says]}
    assert trained_text(chatty, tiny_llama.tokenizer(chat=True), row) == "b</s>"


def test_an_error_of_the_template_is_reported() -> None:
    tokenizer = tiny_llama.tokenizer(chat=True)
    tokenizer.chat_template = "{{ raise_exception('no such turn') }}"
    with pytest.raises(BadRow, match="refuses it: no such turn"):
        Encoder(tokenizer, 50).encode({"prompt": "a", "completion": "b"})


def test_a_chat_that_begins_with_an_answer_is_reported(chatty: Encoder) -> None:
    with pytest.raises(BadRow, match="message 0 is the assistant's: put before it what it answers"):
        chatty.encode({"messages": [{"role": "assistant", "content": "a"}]})


def test_a_long_row_is_cut_on_the_right_and_says_how_much(tokenizer: Any) -> None:
    example = Encoder(tokenizer, 6).encode({"prompt": "1234", "completion": "5678"})
    assert (len(example.ids), example.cut_tokens, example.trainable_tokens) == (6, 3, 2)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "a"}, "its keys are question, but a row is"),
        ({}, "its keys are none"),
        ({"prompt": "a"}, '"completion" is missing, but must be a string'),
        ({"prompt": "a", "completion": 3}, '"completion" is int 3'),
        ({"text": None}, '"text" is missing'),
        ({"messages": []}, "must be a list of at least one"),
        ({"messages": ["hi"]}, "message 0 is str"),
        ({"messages": [{"role": "bard", "content": "a"}]}, "message 0 has role 'bard'"),
        ({"messages": [{"role": "bard", "content": "a"}]}, "leave such rows out with --skip-bad"),
        ({"messages": [{"role": "user"}]}, 'message 0: "content" is missing'),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]},
            'message 0: "content" is missing, but must be a string',
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"name": "f"}]}]},
            "message 0 calls a tool, and the tokenizer has no chat template",
        ),
        ({"text": "ab\ud83d"}, '"text" holds half a character (\\ud83d at 2)'),
    ],
)
def test_a_row_of_no_known_format_is_refused_with_the_reason(
    plain: Encoder, row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRow) as caught:
        plain.encode(row)
    assert reason in str(caught.value)


def test_a_prompt_is_the_row_up_to_its_answer(plain: Encoder, chatty: Encoder) -> None:
    row = {"prompt": "1+1=", "completion": "2"}
    assert plain.prompt_text(row) == "1+1="
    assert chatty.prompt_text(row) == "<user>1+1=</s><assistant>"
    assert plain.prompt_text({"text": "one two three four"}) == "one two"


def test_the_question_of_a_row_is_in_a_persons_words(plain: Encoder) -> None:
    assert plain.question_of({"prompt": "a", "completion": "b"}) == "a"
    assert plain.question_of({"instruction": "do", "output": "b"}) == "do"
    assert plain.question_of({"messages": [{"role": "user", "content": "hi"}]}) == "hi"
    assert plain.question_of({"text": "one two"}) == "one"


def test_a_bare_question_goes_through_the_template(plain: Encoder, chatty: Encoder) -> None:
    assert plain.render_question("hi") == "hi"
    assert chatty.render_question("hi") == "<user>hi</s><assistant>"


def test_a_shown_row_has_its_trained_tokens_in_brackets(plain: Encoder) -> None:
    shown = plain.show(plain.encode({"prompt": "ab", "completion": "c"}))
    assert shown == "'ab[c][</s>]'"


def offsets_overlap(tokenizer: Any, row: Rendered) -> list[bool]:
    """Which tokens are trained, by the offsets of every token: slow, and plainly right."""
    tokens = tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)
    return [
        index > 0 and any(start < high and low < end for low, high in row.spans)
        for index, (start, end) in enumerate(tokens["offset_mapping"])
    ]


def test_a_token_is_trained_if_any_of_its_letters_is() -> None:
    merged = AutoTokenizer.from_pretrained(str(demo.model_dir()))
    for tokenizer in (tiny_llama.tokenizer(chat=True), merged):
        encoder = Encoder(tokenizer, 1000)
        for prompt, completion in (
            ("é👍🏽 a", "ü"),
            ("", " b  c "),
            ("a\n\n", "\n"),
            ("日本", "語"),
        ):
            (row,) = encoder.render({"prompt": prompt, "completion": completion})
            (example,) = encoder.tokenize([row])
            assert list(example.trained) == offsets_overlap(tokenizer, row)
        for start in range(12):  # spans that begin and end inside of tokens
            row = Rendered({}, "naïve 👍🏽 fox,  the end", ((start, start + 3), (start + 5, 20)))
            assert list(encoder.tokenize([row])[0].trained) == offsets_overlap(tokenizer, row)


def test_limits_that_others_set_on_the_tokenizer_change_nothing() -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer("a long text", truncation=True, max_length=3, padding="max_length")
    assert len(Encoder(tokenizer, 100).encode({"text": "a long text"}).ids) == 12

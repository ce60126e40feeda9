"""What a template is given, what it must not lose, and where its marks lie."""

import pytest

import chat_corpus
from chat_corpus import CALL, CHATS, RESULT, asks, says
from gpu_runner.data.chat import template as templates
from gpu_runner.data.chat.messages import BadRow
from gpu_runner.data.chat.template import Template
from gpu_runner.data.encode import Encoder


def made(source: str, today: str | None = None) -> Template:
    return Template(chat_corpus.tokenizer(source), None, today)


def text_of(source: str, row: dict[str, object], **choices: str) -> str:
    return Encoder(chat_corpus.tokenizer(source), 10_000, **choices).render(row)[-1].text


def test_arguments_are_an_object_or_text_as_the_template_takes_them() -> None:
    assert '```json\n{"city": "Oslo"}' in text_of(chat_corpus.source("deepseek"), CHATS["tools"])
    python = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    python += "{{ c.function.name ~ c.function.arguments }}{% endfor %}{% endfor %}"
    assert '{"city": "Oslo"}' in text_of(python, CHATS["tools"])
    assert "'city'" not in text_of(python, CHATS["tools"])


def test_ids_are_as_short_as_the_template_wants_them() -> None:
    text = text_of(chat_corpus.source("mistral"), CHATS["tools"])
    assert text.count("abc123DEF") == 2
    assert "call_" not in text


def test_words_come_in_parts_where_the_template_reads_only_those() -> None:
    assert "User: Hi?<end_of_utterance>" in text_of(chat_corpus.source("parts"), CHATS["single"])


def test_what_the_system_says_stands_before_the_question_where_no_system_may_speak() -> None:
    text = text_of(chat_corpus.source("gemma"), CHATS["system"])
    assert "<start_of_turn>user\nTerse.\n\nHi?<end_of_turn>" in text


def test_a_developer_is_the_system_where_no_template_knows_one() -> None:
    assert "<|im_start|>system\nTerse." in text_of(chat_corpus.source("chatml"), CHATS["developer"])
    assert "developer<|message|>Terse." in text_of(
        chat_corpus.source("harmony"), CHATS["developer"]
    )


def test_a_row_may_tell_the_template_more() -> None:
    row = {**CHATS["single"], "chat_template_kwargs": {"enable_thinking": False}}
    encoder = Encoder(chat_corpus.tokenizer(chat_corpus.source("hybrid")), 10_000)
    (one,) = encoder.render(row)
    assert encoder.prompt_text(row).endswith("<think>\n\n</think>\n\n")
    assert one.text[one.spans[0][0] :] == "Yes.<|im_end|>\n"


def test_the_date_a_template_tells_is_the_one_it_is_given() -> None:
    source = chat_corpus.source("llama3")
    assert "Today Date: 04 Mar 2021" in text_of(source, CHATS["single"], today="2021-03-04")


def test_marks_lie_around_what_the_template_marks_whatever_it_does_with_it() -> None:
    source = (
        "{% for m in messages %}{% set part %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% endset %}{{ m.role ~ part | trim }}{% endfor %}"
    )
    found = made(source).render([asks("a"), says("bc")])
    assert found.text == "useraassistantbc"
    assert found.marked == ((4, 5), (14, 16))


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (says("Yes.", reasoning_content="Hmm."), '"reasoning_content", which is left out'),
        (says("<think>Hmm.</think>Yes."), "the reasoning before an answer"),
        (says("Looking.", tool_calls=CALL["tool_calls"]), "the text beside a tool call"),
        (says(""), "an answer is empty, so that only its end token is trained"),
    ],
)
def test_what_the_template_leaves_out_of_an_answer_is_reported(
    message: dict[str, object], note: str
) -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{% if m.tool_calls %}{{ m.tool_calls[0].function.name"
        " }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    (one,) = Encoder(chat_corpus.tokenizer(source), 100).render({"messages": [asks("a"), message]})
    assert any(note in told for told in one.notes)


def test_what_the_template_leaves_out_of_the_rest_is_reported() -> None:
    source = chat_corpus.source("phi3")
    row = {**CHATS["single"], "tools": [chat_corpus.WEATHER]}
    row["messages"] = [asks("a"), {**RESULT}, says("b")]
    (one,) = Encoder(chat_corpus.tokenizer(source), 100).render(row)
    assert one.notes == (
        'the chat template has no place for "tools", which are left out',
        "the chat template leaves out messages of the role tool",
    )


def test_where_nothing_ends_an_answer_that_is_reported() -> None:
    tokenizer = chat_corpus.tokenizer(chat_corpus.source("words"))
    assert "ends no answer, so that </s> is appended" in str(
        Encoder(tokenizer, 100).render(CHATS["single"])[0].notes
    )
    tokenizer.eos_token = None
    assert "neither the chat template nor the tokenizer has an end" in str(
        Encoder(tokenizer, 100).render(CHATS["single"])[0].notes
    )


def test_a_template_that_writes_no_answers_is_refused_with_a_remedy() -> None:
    with pytest.raises(BadRow, match="leaves out message 1, the assistant's: give"):
        text_of("{{ messages[0].content }}", CHATS["single"])
    with pytest.raises(BadRow, match="writes nothing of what is before an answer: give"):
        text_of("{{ messages[-1].content }}", CHATS["single"])


def test_a_header_is_not_trained_wherever_it_stands() -> None:
    source = (
        "{% for m in messages %}\n\n{{ m.role }}:\n{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}\nassistant:\n{% endif %}"
    )
    for words in ("b", "assistant:\nb"):
        row = {"messages": [asks("a"), says(words)]}
        (one,) = Encoder(chat_corpus.tokenizer(source), 100).render(row)
        assert [one.text[start:end] for start, end in one.spans] == [f"{words}</s>"]


def test_a_template_that_grows_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_CHARACTERS", 1_000)
    with pytest.raises(BadRow, match="writes more than 1,000 characters"):
        made("{% for m in range(500) %}{{ messages[0].content }}{% endfor %}").render([asks("abc")])


def test_a_template_cannot_reach_python() -> None:
    with pytest.raises(BadRow, match="refuses it"):
        made("{{ messages.__class__.__mro__[1].__subclasses__() }}").render([asks("a")])

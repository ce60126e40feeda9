"""Every family's template, every kind of chat: which letters are trained, span by span.

`corpus/trained.json` was read by a person beside each template: a list of rows, of each row what
is trained, in order; or the reason for which the chat is refused.
"""

import json
from functools import cache
from typing import Any

import pytest

import chat_corpus
from chat_corpus import CHATS, FAMILIES, asks, says
from gpu_runner.data.chat.messages import BadRow, read_chat
from gpu_runner.data.encode import Encoder

TRAINED = json.loads((chat_corpus.FOLDER / "trained.json").read_text("utf-8"))
CASES = [(family, kind) for family in FAMILIES for kind in CHATS]
OWN_INPUT = ("deepseek", "mistral", "parts")  # templates that take another form: see test_template
RENDERED = [
    (family, kind)
    for family, kind in CASES
    if family not in OWN_INPUT and not isinstance(TRAINED[family][kind], str)
]


@cache
def encoder(family: str, **choices: str) -> Encoder:
    return Encoder(chat_corpus.tokenizer(chat_corpus.source(family)), 10_000, **choices)


def trained(made: Encoder, row: dict[str, Any]) -> list[list[str]]:
    return [[one.text[start:end] for start, end in one.spans] for one in made.render(row)]


def test_every_template_of_the_corpus_is_judged() -> None:
    assert sorted(TRAINED) == list(FAMILIES)
    assert not [judged for judged in TRAINED.values() if list(judged) != list(CHATS)]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "kind"), CASES)
def test_answers_are_trained_with_their_ends_and_nothing_else(family: str, kind: str) -> None:
    expected = TRAINED[family][kind]
    if isinstance(expected, str):
        with pytest.raises(BadRow, match=f"{expected.removeprefix('refused: ')}.*--chat-template"):
            encoder(family).render(CHATS[kind])
    else:
        assert trained(encoder(family), CHATS[kind]) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_tokens_are_those_of_the_trained_letters(family: str) -> None:
    made, tokenizer = encoder(family), chat_corpus.tokenizer(chat_corpus.source(family))
    for row in made.render(CHATS["turns"]):
        (example,) = made.tokenize([row])
        pairs = zip(example.ids, example.trained, strict=True)
        learned = tokenizer.decode([token for token, learned in pairs if learned])
        assert learned == "".join(row.text[start:end] for start, end in row.spans)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "kind"), [c for c in CASES if c[1] in ("single", "thinking")])
def test_an_answer_stands_behind_what_the_model_is_asked_with(family: str, kind: str) -> None:
    tokenizer = chat_corpus.tokenizer(chat_corpus.source(family))
    messages = read_chat(CHATS[kind]).messages
    if family == "parts":
        messages = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
    (first, *_) = encoder(family).render(CHATS[kind])
    asked = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    before = first.text[: first.spans[0][0]]
    assert asked.startswith(before)
    assert asked[len(before) :].strip() in ("", "<think>")  # which is trained whole


@pytest.mark.slow
@pytest.mark.parametrize(("family", "kind"), RENDERED)
def test_chats_look_as_transformers_renders_them(family: str, kind: str) -> None:
    template, messages = chat_corpus.source(family), read_chat(CHATS[kind]).messages
    if kind == "developer" and "developer" not in template:
        messages[0]["role"] = "system"
    if family == "gemma" and kind in ("system", "developer"):
        messages = [asks("Terse.\n\nHi?"), messages[2]]
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    for call in calls:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    tools = CHATS[kind].get("tools")
    text = chat_corpus.tokenizer(template).apply_chat_template(
        messages, tools=tools, tokenize=False
    )
    last = encoder(family).render(CHATS[kind])[-1].text
    assert last.startswith(text)
    assert last[len(text) :] in ("", "<|user|>", "</s>")  # an end where the template has none


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_last_answer_is_trained_when_asked(family: str) -> None:
    (row,) = trained(encoder(family, train_on="last"), CHATS["turns"])
    assert row == TRAINED[family]["turns"][-1][-1:]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_without_weight_is_read_and_not_trained(family: str) -> None:
    row = {"messages": [asks("Hi?"), says("Yes.", weight=0), asks("So?"), says("No.", weight=1)]}
    (learned,) = trained(encoder(family), row)
    assert learned == TRAINED[family]["turns"][-1][-1:]
    row = {"messages": [asks("Hi?"), says("Yes."), asks("So?"), says("No.", weight=0)]}
    (learned,) = trained(encoder(family), row)
    assert learned == TRAINED[family]["single"][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_is_trained_when_asked_but_answers_without_weight(family: str) -> None:
    made = encoder(family, train_on="all")
    (row,) = made.render(CHATS["turns"])
    assert row.spans == ((0, len(row.text)),)
    weighed = [asks("Hi?"), says("Yes.", weight=0), asks("So?"), says("No.")]
    (row,) = made.render({"messages": weighed})
    gaps = zip(row.spans, row.spans[1:], strict=False)
    left_out = "".join(row.text[end:start] for (_, end), (start, _) in gaps)
    assert "Yes." in left_out
    assert "?" not in left_out


def test_a_row_of_its_own_is_a_row_that_trains_the_same() -> None:
    made = encoder("hybrid")
    for one in made.render(CHATS["thinking"]):
        (again,) = made.render(one.row)
        assert (again.text, again.spans) == (one.text, one.spans)
        assert made.prompt_text(one.row) == one.text[: one.spans[0][0]]

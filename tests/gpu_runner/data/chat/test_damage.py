"""Rows with anything in the place of anything: refused by `BadRow`, or rendered; never an error."""

import copy
import random
from typing import Any

import pytest

import chat_corpus
import tiny_llama
from chat_corpus import CHATS, FAMILIES
from gpu_runner.data.chat.messages import BadRow
from gpu_runner.data.encode import Encoder

pytestmark = pytest.mark.slow

ODD: list[Any] = [
    *(None, 0, 0.5, True, "", " ", "\ud800", "\x00", "{", "[]", "<think>", "</s>", 10**30),
    *([], {}, [None], [[]], [{}], {"role": "user"}, "tool", "assistant", {"name": "f"}),
    *([{"name": "f"}], [{"function": {"name": "f", "arguments": "{"}}], [{"type": "text"}]),
]
KEYS = (
    *("weight", "tools", "system", "name", "content", "from", "value", "tool_calls", "reasoning"),
    *("function_call", "chat_template_kwargs", "prompt", "completion", "conversations", "text"),
)
SHAREGPT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}


def damaged(value: Any, draw: random.Random) -> Any:
    """The same with a few of its parts replaced, left out or added."""
    if draw.random() < 0.08:
        return copy.deepcopy(draw.choice(ODD))
    if isinstance(value, list):
        return [damaged(item, draw) for item in value if draw.random() > 0.05]
    if not isinstance(value, dict):
        return value
    kept = {key: damaged(item, draw) for key, item in value.items() if draw.random() > 0.05}
    if draw.random() < 0.1:
        kept[draw.choice(KEYS)] = copy.deepcopy(draw.choice(ODD))
    return kept


@pytest.mark.parametrize("family", [*FAMILIES, "none"])
def test_a_damaged_row_is_refused_or_rendered(family: str) -> None:
    draw, rendered = random.Random(family), 0
    source = "" if family == "none" else chat_corpus.source(family)
    tokenizer = chat_corpus.tokenizer(source) if source else tiny_llama.tokenizer()
    encoders = [Encoder(tokenizer, 50, train_on=which) for which in ("assistant", "last", "all")]
    for _ in range(60):
        row = damaged(draw.choice([*CHATS.values(), SHAREGPT, {"text": "a b"}]), draw)
        encoder = draw.choice(encoders)
        try:
            texts = encoder.render(row if isinstance(row, dict) else {})
        except BadRow:
            continue
        rendered += 1
        for one in texts:
            assert not [
                (start, end) for start, end in one.spans if not 0 <= start <= end <= len(one.text)
            ]
            assert encoder.render(one.row)
            encoder.prompt_text(one.row)
            encoder.question_of(one.row)
    assert rendered > 5

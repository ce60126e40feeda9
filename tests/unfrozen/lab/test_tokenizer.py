"""The lab's tokenizer gives the ids, places and texts that the tokenizers library gives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from gpu_runner import demo
from unfrozen.errors import PlanError
from unfrozen.lab.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

FILE = demo.model_dir() / "tokenizer.json"
THEIRS = PreTrainedTokenizerFast(tokenizer_file=str(FILE))
DATA = json.loads(FILE.read_text())
OURS = Tokenizer.read(DATA)
MIXED = st.text(st.sampled_from("ab Z 09,.!'\n\tſé日本ك👩‍👧²Ⅳ٢_\u00a0\u3000\x1c\x85"), max_size=30)


def check(text: str) -> None:
    """Ids, places and the way back, beside the library's."""
    expected = THEIRS(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens = OURS.encode(text)
    assert [token.id for token in tokens] == expected.input_ids
    assert [token.start for token in tokens] == [start for start, _ in expected.offset_mapping]
    decoded = THEIRS.decode(expected.input_ids, clean_up_tokenization_spaces=False)
    assert OURS.decode(expected.input_ids) == decoded.replace("<|end|>", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "47 + 25 =",
        "it's we'll 'sup",
        "Paris<|end|>Rome<|end|>",
        "<|end",
        "🙂🙂",
        "\r\n x",
    ],
)
def test_what_a_reader_may_type_is_tokenized_alike(text: str) -> None:
    check(text)


@given(st.one_of(MIXED, st.text(st.characters(exclude_categories=["Cs"]), max_size=12)))
def test_any_text_is_tokenized_alike(text: str) -> None:
    check(text)


@given(st.lists(st.integers(1, 767), max_size=12))
def test_any_tokens_are_decoded_alike(ids: list[int]) -> None:
    assert OURS.decode(ids) == THEIRS.decode(ids, clean_up_tokenization_spaces=False)


def test_half_a_character_becomes_the_sign_for_what_cannot_be_read() -> None:
    assert OURS.decode([token.id for token in OURS.encode("a\ud83d b")]) == "a� b"


@pytest.mark.parametrize(
    "changes",
    [{"model": DATA["model"] | {"type": "WordPiece"}}, {"pre_tokenizer": {"type": "Whitespace"}}],
)
def test_another_kind_of_tokenizer_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PlanError, match="byte-level BPE"):
        Tokenizer.read(DATA | changes)

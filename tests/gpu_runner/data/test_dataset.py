from pathlib import Path

import pytest

import chat_corpus
import tiny_llama
from gpu_runner.data.dataset import EncodedRows, encode_dataset, encode_rows, held_out_rows
from gpu_runner.data.encode import Encoder
from gpu_runner.data.rows import SourceReader, read_rows
from gpu_runner.errors import DataError


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(tiny_llama.tokenizer(), 12)


def written(path: Path, text: str) -> str:
    (path / "rows.jsonl").write_bytes(text.encode())
    return str(path / "rows.jsonl")


def without_bad_rows(source: str, encoder: Encoder) -> EncodedRows:
    reader = SourceReader(source, skip_bad=True)
    return encode_rows(source, reader.read(), encoder, skip_bad=True, bad=reader.bad)


def test_a_row_of_no_known_format_is_refused_with_file_and_line(
    tmp_path: Path, encoder: Encoder
) -> None:
    rows = read_rows(written(tmp_path, '{"text": "a"}\n{"words": "b"}\n'))
    with pytest.raises(DataError, match=r"rows.jsonl:2: its keys are words"):
        encode_dataset("training", rows, encoder)


def test_rows_that_were_cut_or_left_out_are_counted_and_said(encoder: Encoder) -> None:
    rows = [
        ("a", {"prompt": "1+1=", "completion": "2"}),
        ("b", {"prompt": "1+1=", "completion": "2" * 20}),
        ("c", {"prompt": "1" * 30, "completion": "2"}),
    ]
    loaded = encode_dataset("training", rows, encoder)
    assert (len(loaded.examples), loaded.cut_rows, loaded.untrainable_rows) == (2, 2, 1)
    assert loaded.remarks() == [
        "training: 2 of 3 examples longer than --seq-len lost 33 tokens at the end.",
        "training: 1 of 3 examples left out, which have no trainable token.",
    ]


def test_a_set_without_trainable_tokens_is_refused_and_its_first_row_shown(
    encoder: Encoder,
) -> None:
    rows = [("a", {"prompt": "1" * 30, "completion": "2"})] * 3
    with pytest.raises(DataError) as caught:
        encode_dataset("training", rows, encoder)
    assert "0 of 3 examples have trainable tokens in the training data" in str(caught.value)
    assert "raise --seq-len" in str(caught.value)
    assert "'111111111111'" in str(caught.value)


def test_chats_without_an_answer_are_reported(encoder: Encoder) -> None:
    row = {"messages": [{"role": "system", "content": "Be nice."}]}
    with pytest.raises(DataError, match=r"no message is the assistant's.*add the answers"):
        encode_dataset("training", [("a", row)] * 2, encoder)


def test_the_fingerprint_changes_with_the_rows(encoder: Encoder) -> None:
    rows = [("a", {"text": "abc"}), ("b", {"text": "abd"})]
    assert encode_dataset("x", rows, encoder).sha256 == encode_dataset("y", rows, encoder).sha256
    assert (
        encode_dataset("x", rows, encoder).sha256 != encode_dataset("x", rows[::-1], encoder).sha256
    )


def test_held_out_rows_are_a_tenth_and_never_trained() -> None:
    held = held_out_rows(40, seed=0)
    assert len(held) == 4
    assert sorted(set(held) & set(range(40))) == held
    assert held_out_rows(40, seed=0) == held
    assert held_out_rows(40, seed=1) != held


def test_one_row_cannot_be_held_out_from() -> None:
    with pytest.raises(DataError, match="give --eval-data"):
        held_out_rows(1, seed=0)


def test_bad_rows_are_left_out_counted_and_shown_when_asked(
    tmp_path: Path, encoder: Encoder
) -> None:
    text = '{"text": "ab"}\n{oops\n{"words": "b"}\n{"text": "abc"}\n'
    rows = without_bad_rows(written(tmp_path, text), encoder).select("training")
    assert len(rows.examples) == 2
    assert rows.rows_read == 4
    (remark,) = rows.remarks()
    assert remark.startswith("training: 2 bad rows are left out: ")
    assert "rows.jsonl:2: not JSON" in remark
    assert "rows.jsonl:3: its keys are words" in remark


def test_a_file_of_bad_rows_only_is_refused_with_the_first(
    tmp_path: Path, encoder: Encoder
) -> None:
    source = written(tmp_path, '{"words": "a"}\n{"words": "b"}\n')
    with pytest.raises(DataError, match=r"all 2 rows of .*rows.jsonl are bad.*rows.jsonl:1"):
        without_bad_rows(source, encoder)


def test_what_is_not_used_of_a_row_is_reported_with_the_count_and_the_first(
    encoder: Encoder,
) -> None:
    rows = [
        ("a:1", {"prompt": "1", "completion": "2"}),
        ("a:2", {"prompt": "1", "completion": "", "meta": {}}),
        ("a:3", {"prompt": "1", "completion": "2", "meta": {}, "text": "b"}),
    ]
    assert encode_dataset("training", rows, encoder).remarks() == [
        "training: 2 of 3 rows (a:2 is the first): the key 'meta' is not used.",
        "training: 1 of 3 rows (a:2 is the first): an answer is empty, so that only its end token"
        " is trained.",
        "training: 1 of 3 rows (a:3 is the first): the key 'text' is not used.",
    ]


def test_rows_of_very_many_keys_do_not_fill_the_terminal(encoder: Encoder) -> None:
    rows = [(f"a:{n}", {"text": "b", f"key{n}": n}) for n in range(20)]
    said = encode_dataset("training", rows, encoder).remarks()
    assert len(said) == 9
    assert said[-1] == "training: 12 more kinds of such remarks."


def test_a_chat_whose_answers_change_becomes_several_rows_and_that_is_reported() -> None:
    source = chat_corpus.source("hybrid")
    made = Encoder(chat_corpus.tokenizer(source), 10_000)
    chats = [("a:1", chat_corpus.CHATS["turns"]), ("a:2", chat_corpus.CHATS["single"])]
    rows = encode_dataset("training", chats, made)
    assert (rows.rows_read, len(rows.rows), len(rows.examples), rows.split_rows) == (2, 3, 3, 1)
    (said,) = rows.remarks()
    assert "so 1 of 2 rows became several examples, each up to an answer: 3 examples in" in said
    assert [made.prompt_text(row).count("Hi?") for row in rows.rows] == [1, 1, 1]


def test_chats_of_which_no_answer_has_weight_are_reported(encoder: Encoder) -> None:
    said = {"role": "assistant", "content": "b", "weight": 0}
    chat = {"messages": [{"role": "user", "content": "a"}, said]}
    with pytest.raises(DataError, match='every answer has "weight": 0: leave that out'):
        encode_dataset("training", [("a", chat)] * 2, encoder)


def test_a_tokenizer_without_an_end_is_reported() -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.eos_token = None
    rows = encode_dataset("training", [("a:1", {"text": "abc"})], Encoder(tokenizer, 12))
    assert "the tokenizer has no end token, so that the model does not learn to stop" in str(
        rows.remarks()
    )

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny_llama
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import IGNORED, Batch, BatchShape, Feed, bins, collate
from unfrozen.training_data import row_at


@pytest.fixture(scope="module")
def examples() -> tuple[Example, ...]:
    encoder = Encoder(tiny_llama.tokenizer(), 50)
    return tuple(encoder.encode(row) for row in tiny_llama.sums(10))


def test_a_batch_may_lie_across_two_epochs(examples: tuple[Example, ...]) -> None:
    feed = Feed(examples, 0, 4, 2, 0)
    rows = [row_at(position, 10, 0) for position in range(8, 16)]
    lengths = [len(examples[row].ids) for row in rows]
    batches = list(feed.step(2))
    assert [batch.input_ids.shape[1] for batch in batches] == [max(lengths[:4]), max(lengths[4:])]


def test_padding_stands_on_the_right_and_is_not_trained(examples: tuple[Example, ...]) -> None:
    batch = collate(examples[:4], pad_id=0)
    for row, example in enumerate(examples[:4]):
        length = len(example.ids)
        assert tuple(batch.input_ids[row, :length].tolist()) == example.ids
        assert (batch.labels[row, length:] == IGNORED).all()
    assert batch.trainable_tokens == int((batch.labels != IGNORED).sum())


def test_the_tokens_of_a_step_are_known_before_it(examples: tuple[Example, ...]) -> None:
    feed = Feed(examples, 0, 3, 2, 0)
    for number in (1, 2, 3):
        made = sum(batch.trainable_tokens for batch in feed.step(number))
        assert feed.trainable_tokens(number) == made


def test_the_sequences_of_a_step_are_read_once(examples: tuple[Example, ...]) -> None:
    class Counting(tuple[Example, ...]):
        read = 0

        def __getitem__(self, index: Any) -> Any:
            Counting.read += 1
            return super().__getitem__(index)

    feed = Feed(Counting(examples), 0, 3, 2, 0)
    list(feed.step(1))
    assert feed.trainable_tokens(1) < feed.tokens(1)
    assert Counting.read == 6, "three sequences in each of two micro-batches"


@pytest.mark.parametrize("packed", [False, True])
def test_the_shapes_of_a_step_are_those_of_its_batches(
    examples: tuple[Example, ...], packed: bool
) -> None:
    feed = Feed(examples, 0, 3, 2, 0, packed=packed)
    batches = list(feed.step(1))
    made = [
        BatchShape(*batch.input_ids.shape, batch.trainable_tokens, len(batches))
        for batch in batches
    ]
    assert list(feed.shapes(1)) == made


def test_the_position_before_a_trained_token_predicts_it() -> None:
    labels = torch.tensor([[IGNORED, IGNORED, 5, IGNORED], [IGNORED, IGNORED, IGNORED, 7]])
    positions, targets = Batch(torch.zeros_like(labels), labels, 2).find_targets()
    assert positions.tolist() == [1, 4 + 2]  # of two rows with four positions each
    assert targets.tolist() == [5, 7]


def test_a_batch_that_was_sent_knows_its_targets() -> None:
    batch = Batch(torch.zeros(1, 4), torch.tensor([[IGNORED, IGNORED, 5, 6]]), 2)
    sent = batch.to(torch.device("meta"))  # where nothing could be counted
    assert sent.find_targets().positions.shape == (2,)
    assert sent.find_targets().targets.device.type == "meta"


LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@pytest.mark.slow
@given(LENGTHS, st.integers(50, 200))
def test_every_row_is_in_one_bin_and_no_bin_overflows(lengths: list[int], capacity: int) -> None:
    found = bins(lengths, capacity)
    assert sorted(index for one in found for index in one) == list(range(len(lengths)))
    assert max(sum(lengths[index] for index in one) for one in found) <= capacity


@pytest.mark.slow
@given(LENGTHS, st.integers(50, 200))
def test_bins_are_few(lengths: list[int], capacity: int) -> None:
    fewest = -(-sum(lengths) // capacity)
    assert len(bins(lengths, capacity)) <= max(1, 2 * fewest)


@pytest.mark.slow
@given(LENGTHS, st.integers(1, 4))
def test_every_rank_gets_as_many_bins(lengths: list[int], ranks: int) -> None:
    if len(lengths) >= ranks:
        found = bins(lengths, 50, ranks)
        assert len(found) % ranks == 0
        assert all(found)


def test_bins_weigh_alike() -> None:
    assert bins([40, 10, 20, 30], 60) == [[0, 1], [2, 3]]


def test_where_like_weights_do_not_fit_the_bins_are_filled_first_fit() -> None:
    lengths = [6, 4, 4, 3, 3]
    weights = [sum(lengths[index] for index in one) for one in bins(lengths, 10)]
    assert sorted(weights) == [10, 10]


def test_all_that_fits_is_one_bin_in_the_given_order() -> None:
    assert bins([3, 9, 1], 13) == [[0, 1, 2]]

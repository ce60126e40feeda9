"""Room for what is to be learned, and what many tasks take: two bits a weight, straight lines."""

import pytest

from unfrozen.decision.evidence import (
    LEAST_RANK,
    RANKS,
    rank_for,
    room_tokens,
    trained_parameters,
)
from unfrozen.decision.options import (
    Storage,
    cache_bytes,
    copies,
    on_4_bits,
    on_16_bits,
    prompt_tokens,
    prompts,
)
from unfrozen.model.catalogue import CATALOGUE

EIGHT = CATALOGUE["meta-llama/Llama-3.1-8B"].model
TINY = CATALOGUE["HuggingFaceTB/SmolLM2-135M"].model


def test_rank_256_beside_all_layers_of_llama_8b_has_the_parameters_others_count() -> None:
    assert trained_parameters(EIGHT, 256) == pytest.approx(0.70e9, rel=0.05)  # Schulman 2025
    assert trained_parameters(EIGHT, 1) == pytest.approx(3e6, rel=0.15)


@pytest.mark.parametrize("learn", LEAST_RANK)
def test_the_least_rank_with_room_is_taken(learn: str) -> None:
    for tokens in (10**3, 10**6, 10**8, 10**9, 2 * 10**9):
        rank, has_room = rank_for(EIGHT, tokens, learn)
        assert has_room
        assert rank >= LEAST_RANK[learn]
        assert room_tokens(trained_parameters(EIGHT, rank)) >= tokens
        smaller = [each for each in RANKS if LEAST_RANK[learn] <= each < rank]
        assert not [
            each for each in smaller if not room_tokens(trained_parameters(EIGHT, each)) < tokens
        ]


def test_more_data_than_any_rank_holds_leaves_the_largest_and_says_so() -> None:
    assert rank_for(EIGHT, 10**10, "style") == (512, False)
    assert rank_for(TINY, 10**10, "style") == (256, False)  # 512 is almost its width


def test_a_model_too_narrow_for_the_rank_that_matter_takes_has_no_room() -> None:
    narrow = CATALOGUE["openai-community/gpt2"].model
    assert narrow.architecture.hidden >= 2 * 256
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2}
    small = type(narrow).from_hf(config | {"n_positions": 128, "vocab_size": 100})
    assert rank_for(small, 10, "knowledge") == (32, False)
    assert rank_for(small, 10, "style") == (16, True)


def test_a_line_counts_what_is_there_once_and_what_each_task_adds() -> None:
    line = Storage(once=100, each=10)
    assert [line.at(tasks) for tasks in (0, 1, 5)] == [100, 110, 150]


@pytest.mark.parametrize("rank", RANKS)
def test_adapters_of_a_large_model_take_less_than_copies_from_the_second_task_on(rank: int) -> None:
    apart, beside = copies(EIGHT), on_16_bits(EIGHT, rank)
    assert apart.at(1) < beside.at(1)
    assert apart.at(2) > beside.at(2)


def test_four_bits_hold_the_same_adapters_on_a_smaller_model() -> None:
    wide, narrow = on_16_bits(EIGHT, 16), on_4_bits(EIGHT, 16)
    assert narrow.each == wide.each == 2 * trained_parameters(EIGHT, 16)
    assert 0.25 < narrow.once / wide.once < 0.5  # embedding and head stay as they are


def test_a_prompt_keeps_two_numbers_a_layer_and_kv_channel_for_each_token() -> None:
    a = EIGHT.architecture
    assert cache_bytes(EIGHT) == 2 * 2 * 32 * 8 * 128 == 4 * a.layers * a.kv_width
    assert prompts(EIGHT).each == 2048 * cache_bytes(EIGHT)
    assert prompts(EIGHT, four_bits=True).once == on_4_bits(EIGHT, 16).once
    assert prompt_tokens(CATALOGUE["openai-community/gpt2"].model) == 512

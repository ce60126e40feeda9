"""The largest model a card can train: exact, and never smaller on a larger card."""

import pytest

from conftest import matrix
from unfrozen.hardware.gpus import GPUS, find
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.largest_model import EIGHT_BIT, MIXED, _fits, largest, llama, published

RECIPES = {"mixed": MIXED, "8-bit": EIGHT_BIT}


def test_the_family_goes_through_llama_2_7b() -> None:
    seven = CATALOGUE["meta-llama/Llama-2-7b-hf"].num_parameters
    assert llama(64).num_parameters == seven
    sizes = [llama(heads).num_parameters for heads in range(1, 200)]
    assert sizes == sorted(set(sizes))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("gpu", matrix(GPUS, *GPUS[::6]), ids=lambda gpu: gpu.name)
def test_it_fits_and_the_next_size_does_not(gpu: object, recipe: dict[str, object]) -> None:
    card = next(each for each in GPUS if each is gpu)
    found = largest(card, recipe)
    if found is None:
        assert not card.bf16
        assert recipe is EIGHT_BIT
        assert published(card, recipe) is None
        return
    heads = next(n for n in range(1, 1024) if llama(n).num_parameters == found)
    assert _fits(llama(heads), card, recipe)
    assert not _fits(llama(heads + 1), card, recipe)
    example = published(card, recipe)
    assert example is not None
    larger = [each for each in CATALOGUE.values() if each.num_parameters > example.num_parameters]
    assert not any(_fits(each.model, card, recipe) for each in larger)


def test_a_larger_card_trains_no_smaller_model_and_fewer_bytes_a_larger_one() -> None:
    cards = sorted((card for card in GPUS if card.bf16), key=lambda card: card.capacity_bytes)
    for recipe in RECIPES.values():
        sizes = [largest(card, recipe) or 0 for card in cards]
        assert sizes == sorted(sizes)
    card = find("RTX 4090")
    assert (largest(card, EIGHT_BIT) or 0) > 2.5 * (largest(card, MIXED) or 0)

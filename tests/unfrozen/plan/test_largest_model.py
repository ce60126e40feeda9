"""The largest model a GPU can train: exact, and never smaller on a larger GPU."""

import pytest

from conftest import matrix
from unfrozen.hardware import GPUS, Gpu, find
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.methods import EIGHT_BIT, MIXED, _fits, largest, llama

RECIPES = {"mixed": MIXED, "8-bit": EIGHT_BIT}


def test_the_family_goes_through_llama_2_7b() -> None:
    seven = CATALOGUE["meta-llama/Llama-2-7b-hf"].num_parameters
    assert llama(64).num_parameters == seven
    sizes = [llama(heads).num_parameters for heads in range(1, 200)]
    assert sizes == sorted(set(sizes))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("gpu", matrix(GPUS, *GPUS[::6]), ids=lambda gpu: gpu.name)
def test_it_fits_and_the_next_size_does_not(gpu: Gpu, recipe: dict[str, object]) -> None:
    found = largest(gpu, recipe)
    if found is None:
        assert not gpu.bf16
        assert recipe is EIGHT_BIT
        return
    heads = next(n for n in range(1, 1024) if llama(n).num_parameters == found)
    assert _fits(llama(heads), gpu, recipe)
    assert not _fits(llama(heads + 1), gpu, recipe)


def _room(gpu: Gpu) -> int:
    return gpu.capacity_bytes - gpu.context_bytes


def test_a_larger_gpu_trains_no_smaller_model_and_fewer_bytes_a_larger_one() -> None:
    gpus = sorted((gpu for gpu in GPUS if gpu.bf16), key=_room)
    for recipe in RECIPES.values():
        sizes = [largest(gpu, recipe) or 0 for gpu in gpus]
        assert sizes == sorted(sizes)
    gpu = find("RTX 4090")
    assert (largest(gpu, EIGHT_BIT) or 0) > 2.5 * (largest(gpu, MIXED) or 0)

"""Every optimizer on three processes, then on one, then on three, beside one process all along."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import run_process
from conftest import matrix
from gpu_runner.world import World
from shared_updates import CASES, EIGHT_BIT, Leg, walk, walk_in

pytestmark = pytest.mark.slow

PROCESSES = 3  # no size of the models is a multiple of it: parts are uneven
STEPS = 5
USUAL = ("adamw", "adamw-stochastic", "adamw-kahan", "muon", "muon-experts", "adafactor-stochastic")
COPIED = ("adamw", "muon-experts")  # of each kind one, in every run


@pytest.fixture(scope="module")
def walked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """What all steps on one process left, and what the same steps left on changing ones."""
    root = tmp_path_factory.mktemp("walked")
    cases = tuple(CASES) if request.config.option.all else USUAL
    walk_in(World(), Leg(1, STEPS, root / "alone", cases=cases))
    together(Leg(1, 3, root / "first", cases=cases))
    walk_in(World(), Leg(4, 4, root / "second", root / "first", cases=cases))
    together(Leg(5, STEPS, root / "third", root / "second", cases=cases))
    return root / "alone", root / "third"


def together(leg: Leg, processes: int = PROCESSES) -> None:
    for child in run_process.together(walk, leg, processes):
        child.join()
        assert child.exitcode == 0


@pytest.mark.parametrize("case", matrix(CASES, *USUAL))
def test_the_number_of_processes_changes_no_weight_and_no_state(
    case: str, walked: tuple[Path, Path]
) -> None:
    """A sum in another order may turn the last bit, and that how one weight is rounded to bf16."""
    alone, changing = (path / case for path in walked)
    turned = 1 if case == "adafactor-stochastic" else 0
    one, other = numbers(alone), numbers(changing)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        apart = ~torch.isclose(other[name], tensor, rtol=1e-6, atol=1e-6)
        assert int(apart.sum()) <= turned, name
        torch.testing.assert_close(other[name], tensor, rtol=1e-6 + turned / 2**7, atol=1e-6)


@pytest.fixture(scope="module")
def copied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the same steps left on two copies of two parts, on one process, and on two again."""
    root = tmp_path_factory.mktemp("copied")
    cases = tuple(CASES) if request.config.option.all else COPIED
    together(Leg(1, 3, root / "first", parts=2, cases=cases), 4)
    walk_in(World(), Leg(4, 4, root / "second", root / "first", cases=cases))
    together(Leg(5, STEPS, root / "third", root / "second", parts=2, cases=cases), 4)
    return root / "third"


@pytest.mark.parametrize("case", matrix(CASES, *COPIED))
def test_copies_of_a_model_that_is_cut_change_no_weight_and_no_state(
    case: str, walked: tuple[Path, Path], copied: Path
) -> None:
    turned = 1 if case == "adafactor-stochastic" else 0
    one, other = numbers(walked[0] / case), numbers(copied / case)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        apart = ~torch.isclose(other[name], tensor, rtol=1e-6, atol=1e-6)
        assert int(apart.sum()) <= turned, name


def test_any_number_of_processes_goes_on_with_moments_of_8_bits(tmp_path: Path) -> None:
    """Blocks of a whole tensor are updated alike; one that cannot be cut into them is widened."""
    with torch.compiler.set_stance("force_eager"):
        walk_in(World(), Leg(1, STEPS, tmp_path / "alone", cases=EIGHT_BIT))
        together(Leg(1, 2, tmp_path / "two", cases=EIGHT_BIT), 2)
        together(Leg(3, 3, tmp_path / "four", tmp_path / "two", cases=EIGHT_BIT), 4)
        walk_in(World(), Leg(4, 4, tmp_path / "one", tmp_path / "four", cases=EIGHT_BIT))
        copies = Leg(5, STEPS, tmp_path / "end", tmp_path / "one", parts=2, cases=EIGHT_BIT)
        together(copies, 4)
    exact, same = numbers(tmp_path / "alone" / "8-bit"), numbers(tmp_path / "end" / "8-bit")
    assert sum(name.startswith("exp_avg_codes") for name in exact) == 15
    assert exact.keys() == same.keys()
    for name, tensor in exact.items():
        within = 1e-6 if "norm" in name else 0.0  # norms have another AdamW on several processes
        torch.testing.assert_close(same[name], tensor, rtol=within, atol=within, msg=name)
    alone, odd = (numbers(tmp_path / leg / "8-bit-odd") for leg in ("alone", "end"))
    widened = {f"{part}.model.embed_tokens.weight" for part in ("exp_avg", "exp_avg_sq")}
    assert odd.keys() - alone.keys() == widened
    for name in alone.keys() & odd.keys():
        near = 0.005 if "embed_tokens" in name else 1e-6  # a tenth of what five steps move
        torch.testing.assert_close(odd[name], alone[name], rtol=0, atol=near, msg=name)


def numbers(case: Path) -> dict[str, torch.Tensor]:
    """Its weights and states in fp32, without random states.

    A weight is the sum of itself and its compensation: the last bit may be in either.
    """
    files = (case / "model.safetensors", case / "optimizer.safetensors")
    tensors = {name: tensor.float() for file in files for name, tensor in load_file(file).items()}
    for name in list(tensors):
        kind, _, weight = name.partition(".")
        if kind == "rng":
            del tensors[name]
        elif kind == "compensation":
            tensors[weight] += tensors.pop(name)
    return tensors

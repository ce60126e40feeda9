"""8-bit moments, with the library that is there; without one, the message that says so."""

import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import tiny_llama
from gpu_runner.errors import UsageError
from gpu_runner.optim import eight_bit
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import OptimizerChoice
from measured_steps import Case, measure, on_several

INSTALLED = [name for name in eight_bit.LIBRARIES if find_spec(name) is not None]
needs_library = pytest.mark.skipif(
    not INSTALLED or (INSTALLED == ["torchao"] and shutil.which("g++") is None),
    reason="8-BIT MOMENTS ARE NOT TESTED: `pip install bitsandbytes`, or torchao where g++ is",
)


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """What torchao compiles is its update as it is written: compiling it takes half a minute."""
    with torch.compiler.set_stance("force_eager"):
        yield


def built(choice: OptimizerChoice) -> tuple[torch.nn.Module, optim.Optimizer]:
    """A Llama with matrices beyond 4,096 weights, below which both libraries keep fp32."""
    square = {"vocab_size": 128, "hidden_size": 128, "intermediate_size": 128}
    model: torch.nn.Module = tiny_llama.model(**square, num_key_value_heads=4)
    return model, optim.build(model, lr=1e-3, weight_decay=0.1, choice=choice)


def step(model: torch.nn.Module, optimizer: optim.Optimizer, seed: int, bad: float = 1.0) -> float:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * bad
    return float(optimizer.step(1e-3, optim.gradient_norm(model.parameters()), 1.0))


def test_without_a_library_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in eight_bit.LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]  # as if absent
    with pytest.raises(UsageError, match=r"neither is installed: `pip install bitsandbytes`, or"):
        built(OptimizerChoice(name="adamw8bit"))


@needs_library
@pytest.mark.filterwarnings("ignore")
def test_it_stays_near_adamw_and_keeps_a_quarter_of_its_moments() -> None:
    (ours, small), (theirs, plain) = (
        built(OptimizerChoice(name="adamw8bit")),
        built(OptimizerChoice()),
    )
    start = [p.detach().clone() for p in ours.parameters()]
    for seed in range(5):
        step(ours, small, seed)
        step(theirs, plain, seed)
    for first, one, other in zip(start, ours.parameters(), theirs.parameters(), strict=True):
        assert float((one - other).norm() / (other - first).norm()) < 0.1

    def size(optimizer: optim.Optimizer) -> int:
        states = optimizer.state.values()
        return sum(v.nbytes for s in states for v in s.values() if isinstance(v, torch.Tensor))

    assert size(small) < 0.35 * size(plain)


@needs_library
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("at", [0, 2])
def test_a_bad_step_is_skipped_and_recovered_from(at: int) -> None:
    (ours, small), (theirs, other) = (
        built(OptimizerChoice(name="adamw8bit")),
        built(OptimizerChoice(name="adamw8bit")),
    )
    for seed in range(4):
        if seed == at:
            assert step(ours, small, 99, float("nan")) == 1.0
        assert step(ours, small, seed) == 0.0
        step(theirs, other, seed)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


@needs_library
@pytest.mark.filterwarnings("ignore")
def test_it_goes_on_from_the_plain_tensors_of_a_checkpoint() -> None:
    model, optimizer = built(OptimizerChoice(name="adamw8bit"))
    for seed in range(3):
        step(model, optimizer, seed)
    kept = {
        name: {k: v.clone() if isinstance(v, torch.Tensor) else v
               for k, v in optimizer.state[p].items()}
        for name, p in model.named_parameters()
    }  # fmt: skip
    resumed, fresh = built(OptimizerChoice(name="adamw8bit"))
    resumed.load_state_dict(model.state_dict())
    for name, parameter in resumed.named_parameters():
        fresh.state[parameter] = kept[name]
    step(model, optimizer, 3)
    step(resumed, fresh, 3)
    assert all(map(torch.equal, model.parameters(), resumed.parameters()))


@pytest.mark.matrix
@needs_library
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_measured_step_holds_the_moments_that_were_predicted(
    processes: int, tmp_path: Path
) -> None:
    """What a library widens inside its own step no tracker sees; what it keeps is looked at."""
    sizes = {"hidden_size": 128, "intermediate_size": 512, "head_dim": 32, "vocab_size": 4096}
    case = Case({"optimizer": "adamw8bit"}, sizes=sizes | {"num_key_value_heads": 4})
    (found,) = [measure(case)] if processes == 1 else on_several([case], tmp_path)
    kept, predicted = (
        when["optimizer_step"]["moments"] for when in (found.instants, found.predicted)
    )
    assert kept == pytest.approx(predicted, rel=1e-3)
    assert found.peak_bytes == pytest.approx(found.predicted_bytes, rel=0.01)  # at 8 rows

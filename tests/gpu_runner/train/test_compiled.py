"""Which steps of a compiled run are compiled: counted in what each loss is to be differentiated."""

from typing import Any

import pytest
import torch

import tiny_families
import tiny_llama
from conftest import matrix
from gpu_runner.data.feed import Batch, Feed
from gpu_runner.model import blocks
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.intervals import Intervals
from gpu_runner.run.observer import CompileGain
from gpu_runner.train.evaluate import generate
from gpu_runner.train.loop import State, StepResult, Training, TrainingStep, timed_step
from measured_steps import RATE, ROWS
from unfrozen.schedules import Schedule

STEPS = 8
MEASURED, WRITTEN = frozenset({1, 2, 6}), 3


def compiled_regions(loss: torch.Tensor) -> int:
    """How many compiled functions stand between a loss and the weights."""
    seen, left, found = set(), [loss.grad_fn], 0
    while left:
        node: Any = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found += "CompiledFunction" in type(node).__name__
            left += [following for following, _ in node.next_functions]
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.parametrize(
    ("family", "packed"), matrix([("llama", True), ("gemma3_text", False)], ("gemma3_text", False))
)
def test_every_block_of_every_step_is_compiled_but_in_those_that_are_measured(
    family: str, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of many lengths, samples in between; only the C++ of it all is left out."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    own = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partial_method(own, backend="aot_eager"))
    model = tiny_families.model(family)
    blocks.prepare(model, "none", compiled=True)
    counts: list[int] = []

    def loss(model: Any, batch: Batch) -> tuple[torch.Tensor, int]:
        total, count = loss_sum(model, batch)
        counts.append(compiled_regions(total))
        return total, count

    step = TrainingStep(
        model=model,
        optimizer=optim.build(model, lr=RATE, weight_decay=0.0),
        feed=Feed(ROWS, 0, 3, 2, 0, packed=packed, fixed=True),
        schedule=Schedule("cosine", STEPS, RATE, 1),
        clip=1.0,
        loss=loss,
    )
    between: Any = None, lambda: True, Intervals(STEPS, 9, 0)
    training = Training(step, State(), *between, measured_steps=MEASURED, written_step=WRITTEN)
    ways = []
    for number in range(1, STEPS + 1):
        if number in (1, 5):
            generate(model, tiny_llama.tokenizer(), "abc", 6)
        counts.clear()
        ways.append(timed_step(training, number).way)
        usual = number not in (*MEASURED, WRITTEN)
        assert counts == [2 * usual] * len(counts), number
    assert ways == ["measured", "measured", "written", "usual", "usual", "measured", *2 * ["usual"]]
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs <= 2, "blocks with a window and without one, each once"


def partial_method(function: Any, **settings: Any) -> Any:
    return lambda self, **more: function(self, **settings, **more)


def result(number: int, way: Any, seconds: float) -> StepResult:
    return StepResult(number, 1.0, 1.0, False, RATE, 10, seconds, None, way)


@pytest.mark.parametrize(
    ("compiled", "level", "said"),
    [
        (0.5, "info", "0.5 s compiled and 1 s eager; compiling took 9.5 s, saved again after"),
        (1.5, "warn", "compiling does not pay off here. Set compile = false."),
    ],
)
def test_what_compiling_gains_is_reported_once(compiled: float, level: str, said: str) -> None:
    told: list[tuple[str, str, int]] = []
    gain = CompileGain(lambda *one: told.append(one))
    gain.step(result(2, "measured", 3.0))
    gain.step(result(3, "written", 1.0))
    for number, slower in enumerate((9.5, 0.2, 0.0, 0.1, 0.3), 4):  # the first one compiles
        gain.step(result(number, "usual", compiled + slower))
    ((told_level, text, step),) = told
    assert (told_level, step) == (level, 7)
    assert said in text


def test_a_run_that_is_not_compiled_tells_nothing() -> None:
    told: list[object] = []
    gain = CompileGain(lambda *one: told.append(one))
    for number in range(1, 6):
        gain.step(result(number, "usual", 1.0))
    assert told == []


def test_compiling_is_refused_where_nothing_can_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        Exception, match=r"needs a C\+\+ compiler \(no-such-compiler\).*compile = f"
    ):
        blocks.check_compiler(torch.device("cpu"))

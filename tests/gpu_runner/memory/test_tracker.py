import pytest
import torch

import tiny_llama
from gpu_runner.data.encode import Encoder
from gpu_runner.data.feed import Feed
from gpu_runner.memory.tracker import StepMemory, known_bytes, measure_step
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim

WEIGHTS = 4 * 27_040
CPU = torch.device("cpu")


def steps(count: int, micro_batches: int = 1) -> list[StepMemory]:
    """Measured steps of the tiny model, the first one included."""
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    examples = tuple(encoder.encode(row) for row in tiny_llama.sums(16))
    feed = Feed(examples, 0, 4, micro_batches, 0)
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    found = []
    for number in range(1, count + 1):
        with measure_step(model, optimizer, CPU, wanted=True) as (meter, memory):
            for batch in feed.step(number):
                with meter.phase("forward"):
                    total, _ = loss_sum(model, batch)
                with meter.phase("backward"):
                    total.backward()
                del total
            norm = optim.gradient_norm(model.parameters())
            with meter.phase("optimizer_step"):
                optimizer.step(1e-3, norm, 1.0)
        assert memory is not None
        found.append(memory)
    return found


@pytest.mark.slow
def test_weights_gradients_and_moments_are_exact() -> None:
    first, second = steps(2)
    for memory in (first, second):
        for components in memory.instants.values():
            assert components["params"] == WEIGHTS + 32  # 32 bytes: the frequencies of rotation
        assert memory.instants["end_of_backward"]["grads"] == WEIGHTS
    assert "moments" not in first.instants["end_of_forward"]
    tensors = 20  # each with a step count of 4 bytes
    assert second.instants["end_of_forward"]["moments"] == 2 * WEIGHTS + 4 * tensors
    assert first.instants["optimizer_step"]["moments"] == pytest.approx(2 * WEIGHTS, rel=0.01)


def test_activations_are_gone_when_all_gradients_are_there() -> None:
    (memory,) = steps(1)
    assert memory.instants["end_of_forward"]["activations"] > 50_000
    assert memory.instants["end_of_backward"].get("activations", 0) < 2000
    assert memory.instants["end_of_backward"].get("logits_loss", 0) < 2000


def test_logits_are_separate_from_activations() -> None:
    (memory,) = steps(1)
    batch_rows, vocabulary = 4, 264
    one_logits_matrix = 4 * batch_rows * 2 * vocabulary  # at least two predicting positions
    assert memory.instants["end_of_forward"]["logits_loss"] >= 2 * one_logits_matrix


@pytest.mark.slow
def test_gradients_outlive_the_forward_only_when_they_accumulate() -> None:
    (single,), (double,) = steps(1), steps(1, micro_batches=2)
    assert single.instants["end_of_forward"].get("grads", 0) < WEIGHTS
    assert double.instants["end_of_forward"]["grads"] >= WEIGHTS


def test_the_peak_is_no_less_than_any_instant() -> None:
    for memory in steps(2):
        assert memory.peak_bytes >= max(sum(c.values()) for c in memory.instants.values())


def test_a_temporary_tensor_is_counted_once_and_dropped() -> None:
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    with measure_step(model, optimizer, CPU, wanted=True) as (meter, memory):
        assert memory is not None
        with meter.phase("forward"):
            for _ in range(3):
                big = torch.ones(1_000_000)
                view = big.view(1000, 1000)
                del big, view
    assert memory.peak_bytes == pytest.approx(4_000_000 + WEIGHTS, rel=0.01)


def test_an_unmeasured_step_has_no_memory() -> None:
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    with (
        measure_step(model, optimizer, CPU, wanted=False) as (meter, memory),
        meter.phase("forward"),
    ):
        assert memory is None


def test_measuring_does_not_change_the_numbers() -> None:
    batch_rows = tuple(
        Encoder(tiny_llama.tokenizer(), 60).encode(row) for row in tiny_llama.sums(4)
    )
    (batch,) = Feed(batch_rows, 0, 4, 1, 0).step(1)
    gradients = []
    for wanted in (False, True):
        model = tiny_llama.model()
        optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
        with measure_step(model, optimizer, CPU, wanted=wanted):
            loss_sum(model, batch)[0].backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_known_bytes_are_those_of_the_tensors() -> None:
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    assert known_bytes(model, optimizer) == {"params": WEIGHTS + 32, "grads": 0, "moments": 0}

"""What waits on the host: the same values, by a way that may be as slow as it is allowed to be."""

import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

import tiny_families
from conftest import matrix
from gpu_runner.data.feed import pack
from gpu_runner.model.loss import loss_sum
from gpu_runner.model.offload import (
    ALIGNMENT,
    LAYERS,
    LEAST_BYTES,
    Arena,
    Copy,
    CpuCopies,
    Offload,
    _dense,
)
from measured_steps import ROWS

SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6, "head_dim": 64}


class LateLane:
    """A stream that does nothing before it must: what was started first is done first.

    It keeps nothing alive. Whoever lets go of what is still to be read, or looks at what is not yet
    written, is found out.
    """

    def __init__(self) -> None:
        self.left: list[tuple[int, list[tuple[Any, Any]]]] = []
        self.begun = 0
        self.joined: list[int] = []

    def start(self, copies: Sequence[Copy]) -> int:
        self.begun += 1
        for goal, _ in copies:
            goal.fill_(0xA5)
        self.left.append((self.begun, [(place(goal), place(source)) for goal, source in copies]))
        return self.begun

    def wait(self, event: int) -> None:
        self.joined.append(event)
        while self.left and self.left[0][0] <= event:
            for goal, source in self.left.pop(0)[1]:
                there(goal).copy_(there(source))


def place(part: torch.Tensor) -> tuple[Any, int, int]:
    """Where some bytes are, without holding them."""
    return weakref.ref(part.untyped_storage()), part.storage_offset(), len(part)


def there(where: tuple[Any, int, int]) -> torch.Tensor:
    storage, offset, size = where
    held = storage()
    assert held is not None, "let go of before it was copied"
    return torch.empty(0, dtype=torch.uint8).set_(held, offset, (size,))


def passed(saving: Callable[[], Any] | None, model: Any) -> list[torch.Tensor]:
    """Gradients of one step, what it keeps saved so."""
    model.zero_grad()
    if saving is None:
        total, count = loss_sum(model, pack(ROWS, 0))
    else:
        with saving():
            total, count = loss_sum(model, pack(ROWS, 0))
    (total / count).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def model() -> Any:
    return tiny_families.model("llama", **SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("block_bytes", matrix([1 << 28, 1 << 17], 1 << 17))
@pytest.mark.parametrize("lane", matrix([CpuCopies, LateLane], LateLane))
def test_step_after_step_the_gradients_are_the_same(lane: Any, block_bytes: int) -> None:
    trained = model()
    plain = passed(None, trained)
    ways: list[Any] = []

    def made(_: torch.device) -> Any:
        ways.append(lane())
        return ways[0]

    saving = Offload(trained, made, block_bytes)
    taken = []
    for _ in range(3):
        assert all(map(torch.equal, plain, passed(saving, trained)))
        taken.append(saving.host_bytes)
    assert taken[0] > 0
    assert len(set(taken)) == 1, "every step lies where the first one lay"


@pytest.mark.slow
def test_from_the_second_step_on_layers_leave_while_the_next_compute() -> None:
    """The first waits for each copy; later at most two layers are under way, and none is joined at
    once.
    """
    trained, way = model(), LateLane()
    saving = Offload(trained, lambda _: way)
    with saving():
        loss_sum(trained, pack(ROWS, 0))
    assert way.joined == list(range(1, way.begun + 1)), "nothing is known of layers yet"
    way.joined.clear()
    first = way.begun
    with saving():
        total, _ = loss_sum(trained, pack(ROWS, 0))
        begun = way.begun - first
        assert 0 < begun - len(way.joined) <= -(-LAYERS * begun // SIZES["num_hidden_layers"]) + 1
    under_way = begun - len(way.joined)
    total.backward()
    fetched = way.begun - first - begun
    assert fetched == begun - under_way, "the last layers never left: they are needed at once"


@pytest.mark.slow
def test_what_is_needed_next_is_asked_for_before_it_is_needed() -> None:
    trained, way = model(), LateLane()
    saving = Offload(trained, lambda _: way)
    for _ in range(2):
        passed(saving, trained)
    before = len(way.joined)
    started: list[tuple[int, int]] = []
    own = way.wait

    def wait(mark: int) -> None:
        started.append((mark, way.begun))
        own(mark)

    way.wait = wait  # type: ignore[method-assign]
    passed(saving, trained)
    assert len(way.joined) > before
    ahead = [begun - mark for mark, begun in started[len(started) // 2 :]]
    assert max(ahead) > 2, "copies that were started before the one that is waited for had to be"


def test_host_memory_is_what_is_kept_and_not_a_power_of_two() -> None:
    arena = Arena(pinned=False, block_bytes=1 << 20)
    sizes = [700_000, 700_000, 700_000, 3_000_000]
    pieces = [arena.allocate(size) for size in sizes]
    assert [sum(map(len, one)) for one in pieces] == sizes
    assert len(pieces[3]) > 2, "one that is larger than a block lies in several"
    assert arena.nbytes - sum(sizes) <= (1 << 20) + ALIGNMENT * len(sizes)
    spans = sorted((p.data_ptr(), p.data_ptr() + len(p)) for one in pieces for p in one)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_memory_is_used_again_only_when_nothing_in_it_is_needed() -> None:
    arena = Arena(pinned=False, block_bytes=1 << 20)
    (first,), (second,) = arena.allocate(1000), arena.allocate(1000)
    arena.free()
    (third,) = arena.allocate(1000)
    assert third.data_ptr() not in (first.data_ptr(), second.data_ptr())
    arena.free()
    arena.free()
    (fourth,) = arena.allocate(1000)
    assert fourth.data_ptr() == first.data_ptr()


@pytest.mark.slow
def test_two_passes_at_once_do_not_write_over_each_other() -> None:
    trained = model()
    plain = passed(None, trained)
    saving = Offload(trained, lambda _: CpuCopies())
    trained.zero_grad()
    with saving():
        one, count = loss_sum(trained, pack(ROWS, 0))
    with saving():
        other, _ = loss_sum(trained, pack(ROWS, 0))
    (other / count).backward()
    trained.zero_grad()
    (one / count).backward()
    for found, parameter in zip(plain, trained.parameters(), strict=True):
        assert torch.equal(found, parameter.grad)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(300, 200).T,
        torch.randn(4, 300, 200).permute(1, 0, 2),
        torch.randn(400, 400)[::2, :200],
        torch.randn(1, 200).expand(400, 200),
        torch.randint(0, 255, (200, 700), dtype=torch.uint8),
        torch.randn(200, 400, dtype=torch.float64).bfloat16(),
        torch.randn(70_000, 1) > 0,
    ],
)
def test_every_layout_and_kind_of_number_comes_back(tensor: torch.Tensor) -> None:
    assert tensor.nbytes >= LEAST_BYTES
    saving = Offload(torch.nn.Linear(2, 2), lambda _: CpuCopies())
    kept = saving._offload(tensor, [])
    assert not isinstance(kept, torch.Tensor)
    kept.tensor = None
    back = saving._restore(kept)
    assert torch.equal(back, tensor)
    assert back.dtype == tensor.dtype
    assert back.stride() == tensor.stride() or not _dense(tensor)


def test_weights_and_small_tensors_stay() -> None:
    layer = torch.nn.Linear(200, 200)
    saving = Offload(layer, lambda _: CpuCopies())
    for tensor in (layer.weight.detach().T, torch.ones(10)):
        assert saving._offload(tensor, []) is tensor

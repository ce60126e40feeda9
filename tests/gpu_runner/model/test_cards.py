"""Paths of a card, walked with tensors that have a CUDA device and a shape, and nothing else."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

import tiny_families
from gpu_runner.data.feed import Batch, pack
from gpu_runner.model import attention
from gpu_runner.model.loss import loss_sum
from measured_steps import ROWS

AMPERE, TURING = (8, 0), (7, 5)


def queries(dtype: torch.dtype = torch.bfloat16, width: int = 64) -> torch.Tensor:
    return torch.empty(1, 4, 10, width, dtype=dtype, device="cuda")


@pytest.mark.parametrize(
    ("capability", "dtype", "width", "arguments", "taken"),
    [
        (AMPERE, torch.bfloat16, 64, {"scale", "window_size", "enable_gqa"}, True),
        (AMPERE, torch.bfloat16, 256, {"scale", "window_size", "enable_gqa"}, True),
        (AMPERE, torch.bfloat16, 264, {"scale", "window_size", "enable_gqa"}, False),
        (AMPERE, torch.float32, 64, {"scale", "window_size", "enable_gqa"}, False),
        (TURING, torch.float16, 64, {"scale", "window_size", "enable_gqa"}, False),
        (AMPERE, torch.bfloat16, 64, {"scale", "window_size"}, False),  # torch 2.11
        (AMPERE, torch.bfloat16, 64, set(), False),
    ],
)
def test_the_kernel_of_a_card_is_taken_where_it_runs(
    capability: tuple[int, int],
    dtype: torch.dtype,
    width: int,
    arguments: set[str],
    taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "_capability", lambda _: capability)
    monkeypatch.setattr(attention, "_takes", lambda: arguments)
    with FakeTensorMode():
        assert attention.has_flash(queries(dtype, width)) is taken


def test_this_pytorch_has_every_argument() -> None:
    assert attention._takes() >= {"scale", "window_size", "enable_gqa"}


def sent(batch: Batch) -> Batch:
    """The shapes of a batch that was worked out where it was made, on a card that is not there."""

    def fake(tensor: torch.Tensor | None) -> Any:
        if tensor is None:
            return None
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")

    assert batch.chosen is not None
    tensors = map(fake, (batch.input_ids, batch.labels, batch.bounds))
    ids, labels, bounds = tensors
    chosen = type(batch.chosen)(*map(fake, batch.chosen))
    return Batch(ids, labels, batch.trainable_tokens, bounds, batch.longest, chosen)


def on_card(model: Any) -> Any:
    """Every weight and table of it anew, on a card, in 16 bits; what was one stays one."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            exact = not isinstance(tensor, torch.nn.Parameter)
            dtype = tensor.dtype if exact else torch.bfloat16
            new = torch.empty(tensor.shape, dtype=dtype, device="cuda")
            made.setdefault(id(tensor), new if exact else torch.nn.Parameter(new))
            (module._buffers if exact else module._parameters)[name] = made[id(tensor)]
    return model


class Indexing(TorchFunctionMode):
    """Square brackets as operators: on their own they ask for a driver, which is not here."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        return indexed(*args) if func is torch.Tensor.__getitem__ else func(*args, **(kwargs or {}))


def indexed(tensor: torch.Tensor, key: Any) -> torch.Tensor:
    """`tensor[key]` of slices, numbers, None, an ellipsis and a list of places."""
    keys = key if isinstance(key, tuple) else (key,)
    named = sum(one is not None and one is not Ellipsis for one in keys)
    place = 0
    for one in keys:
        if one is Ellipsis:
            place = tensor.ndim - named + place
            continue
        if one is None:
            tensor = tensor.unsqueeze(place)
        elif isinstance(one, slice):
            tensor = torch.ops.aten.slice(tensor, place, one.start, one.stop, one.step or 1)
        elif isinstance(one, int):
            tensor, place = tensor.select(place, one), place - 1
        else:
            tensor = tensor.index_select(place, one)
        place += 1
        named -= one is not None
    return tensor


@pytest.mark.parametrize("capability", [AMPERE, TURING], ids=["ampere", "turing"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gpt2"])
def test_a_packed_batch_goes_through_a_card_without_a_look_at_a_number(
    family: str, capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake tensor has no numbers: whoever asked for one, and waited for it, would fail here."""
    monkeypatch.setattr(attention, "_capability", lambda _: capability)
    walked: list[str] = []
    own = attention._varlen
    monkeypatch.setattr(attention, "_varlen", lambda *a: walked.append("flash") or own(*a))
    if capability == TURING:  # its way looks at the bounds, which is what it costs
        lengths = [len(row.ids) for row in ROWS[:3]]
        monkeypatch.setattr(attention, "_lengths", lambda _: lengths)
    made = pack(ROWS[:3], 0).to(torch.device("meta"))
    with FakeTensorMode(), Indexing(), torch.no_grad():  # autograd would ask for a driver
        model = on_card(tiny_families.model(family))
        total, count = loss_sum(model, sent(made), "full")
        assert (total.device.type, count) == ("cuda", made.trainable_tokens)
    flash = capability == AMPERE and family != "gemma2"
    assert walked == ["flash"] * (2 * flash)

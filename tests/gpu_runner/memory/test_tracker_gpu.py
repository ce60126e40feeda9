"""The meter of a GPU, with a stand-in for the allocator."""

from typing import Any

import pytest
import torch

from gpu_runner.memory.tracker import CudaMeter, measure_step
from gpu_runner.optim import optimizer as optim

MIB = 2**20
GPU = torch.device("cuda", 0)


class Allocator:
    """What PyTorch's statistics would be: live bytes, their peak, and cuBLAS's own part."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.peak = self.workspace = 0
        for name, told in {
            "memory_allocated": lambda _: self.now,
            "max_memory_allocated": lambda _: self.peak,
            "reset_peak_memory_stats": self.reset,
        }.items():
            monkeypatch.setattr(torch.cuda, name, told)
        monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", self.clear, raising=False)

    def reset(self, _: Any) -> None:
        self.peak = self.now

    def clear(self) -> None:
        self.now -= self.workspace
        self.workspace = 0

    def add(self, size: int, *, workspace: bool = False) -> None:
        self.now += size
        self.workspace += size if workspace else 0
        self.peak = max(self.peak, self.now)


def test_what_cublas_works_in_is_no_memory_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Allocator(monkeypatch)
    model = torch.nn.Linear(256, 1024, bias=False)  # 1 MiB
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    held.add(MIB)
    with measure_step(model, optimizer, GPU, wanted=True) as (meter, memory):
        assert isinstance(meter, CudaMeter)
        with meter.phase("forward"):
            held.add(32 * MIB, workspace=True)
            held.add(3 * MIB)
        with meter.phase("backward"):
            held.add(32 * MIB, workspace=True)  # of autograd's thread
            held.add(2 * MIB)
            held.add(-4 * MIB)
        with meter.phase("optimizer_step"):
            held.add(MIB)
    assert memory is not None
    assert held.workspace == 0
    assert memory.peak_bytes == 6 * MIB
    assert memory.instants["end_of_backward"]["workspace"] == MIB
    assert memory.instants["optimizer_step"]["workspace"] == 2 * MIB
    assert not [part for part in memory.instants.values() if part["params"] != MIB]


def test_the_first_products_take_their_workspace_after_the_first_peak_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An instant never becomes negative when more is subtracted than it contains."""
    held = Allocator(monkeypatch)
    model = torch.nn.Linear(4, 4)
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    with measure_step(model, optimizer, GPU, wanted=True) as (meter, memory):
        with meter.phase("forward"):
            held.add(MIB)
        with meter.phase("backward"):
            held.add(8 * MIB, workspace=True)
    assert memory is not None
    assert memory.instants["end_of_forward"]["activations"] == 0
    assert memory.peak_bytes == MIB

"""What is free, as the kernel's own files say it, and what a GPU computes in."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.plan import machine
from gpu_runner.system import limits
from unfrozen.memory.overhead import COMMUNICATION_BYTES, ROUNDING
from unfrozen.units import MIB

GIB = 2**30


def test_no_more_is_free_than_the_tightest_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    job = limits.Limit("memory of a control group", 5000, 1234)
    monkeypatch.setattr(limits, "group_limits", lambda: [job])
    assert machine.free_bytes(torch.device("cpu")) == 1234
    monkeypatch.setattr(limits, "group_limits", lambda: [])
    assert machine.free_bytes(torch.device("cpu")) > 1234


def test_bf16_is_taken_only_where_the_gpu_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch counts emulation as support unless it is asked not to; a T4 emulates."""
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(machine, "computes_bf16", lambda _: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    assert machine.choose_precision(resolve({"model": "x", "data": "y"}), gpu) == "fp32"
    for asked in ({"compute": "bf16"}, {"params": "bf16"}):
        with pytest.raises(UsageError, match=r"Tesla T4 only emulates bf16: .*--compute fp16"):
            machine.choose_precision(resolve({"model": "x", "data": "y", **asked}), gpu)
    for device in (gpu, torch.device("cpu")):
        asked = resolve({"model": "x", "data": "y", "compute": "fp16"})
        assert machine.choose_precision(asked, device) == "fp16"
    monkeypatch.setattr(machine, "computes_bf16", lambda _: True)
    assert machine.choose_precision(resolve({"model": "x", "data": "y"}), gpu) == "bf16"
    assert (
        machine.choose_precision(resolve({"model": "x", "data": "y", "compute": "fp32"}), gpu)
        == "fp32"
    )


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nothing is said of a GPU's memory; PyTorch is as it was afterwards."""
    for name in (*machine.ALLOCATOR, machine.CUBLAS):
        monkeypatch.setenv(name, "to be taken away again")
        monkeypatch.delenv(name)
    yield monkeypatch
    machine.configure_torch(resolve({"model": "x", "data": "y"}), torch.device("cpu"))


GPU = torch.device("cuda", 0)


def asked(**choices: object) -> TrainConfig:
    return resolve({"model": "x", "data": "y", **choices})


@pytest.mark.usefixtures("unset")
def test_switches_reach_pytorch() -> None:
    machine.configure_torch(asked(tf32=True, deterministic=True), GPU)
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ[machine.CUBLAS] == ":4096:8"
    machine.configure_torch(asked(), GPU)
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", machine.ALLOCATOR)
def test_segments_grow_unless_something_else_was_reported(
    name: str, unset: pytest.MonkeyPatch
) -> None:
    """PyTorch reads the newer of the two names first, and warns of the older one."""
    unset.setenv(name, "max_split_size_mb:64")
    machine.configure_torch(asked(), GPU)
    told = {one: os.environ[one] for one in machine.ALLOCATOR if one in os.environ}
    assert told == {name: "max_split_size_mb:64"}
    unset.delenv(name)
    machine.configure_torch(asked(), GPU)
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


def test_segments_that_grow_are_not_asked_for_where_there_are_none(
    unset: pytest.MonkeyPatch,
) -> None:
    unset.setattr(machine.sys, "platform", "win32")
    machine.configure_torch(asked(), GPU)
    assert not set(machine.ALLOCATOR) & os.environ.keys()


def test_a_workspace_that_cublas_cannot_repeat_in_is_refused(unset: pytest.MonkeyPatch) -> None:
    unset.setenv(machine.CUBLAS, ":4096:2:16:8")
    machine.configure_torch(asked(), GPU)
    with pytest.raises(UsageError, match=r"CUBLAS_WORKSPACE_CONFIG=:4096:2:16:8.*:16:8\."):
        machine.configure_torch(asked(deterministic=True), GPU)
    assert not torch.are_deterministic_algorithms_enabled()
    unset.setenv(machine.CUBLAS, ":16:8")
    machine.configure_torch(asked(deterministic=True), GPU)


def test_of_a_gpu_tensors_get_what_nothing_else_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(free: int) -> None:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 24 * GIB))
        properties = SimpleNamespace(multi_processor_count=128)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)

    told(24 * GIB - 300 * MIB)  # the context before its first kernel
    alone = machine.free_bytes(GPU)
    context = 24 * GIB - 512 * MIB - machine.WORKSPACE_BYTES
    assert alone == round(context / (1 + ROUNDING))
    several = alone - machine.free_bytes(GPU, 2)
    assert several == pytest.approx(COMMUNICATION_BYTES / (1 + ROUNDING), abs=2)
    told(8 * GIB)  # others are on it
    assert machine.free_bytes(GPU) == round((8 * GIB - machine.WORKSPACE_BYTES) / (1 + ROUNDING))
    told(0)
    assert machine.free_bytes(GPU) == 0

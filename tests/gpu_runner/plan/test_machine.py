"""What is free, as the kernel's own files say it, and what a card computes in."""

import os

import pytest
import torch

from gpu_runner.config.schema import resolve
from gpu_runner.errors import UsageError
from gpu_runner.plan import machine
from gpu_runner.system import limits


def test_no_more_is_free_than_the_tightest_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    job = limits.Limit("memory of a control group", 5000, 1234)
    monkeypatch.setattr(limits, "group_limits", lambda: [job])
    assert machine.free_bytes(torch.device("cpu")) == 1234
    monkeypatch.setattr(limits, "group_limits", lambda: [])
    assert machine.free_bytes(torch.device("cpu")) > 1234


def test_bf16_is_taken_only_where_the_card_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch counts emulation as support unless it is asked not to; a T4 emulates."""
    card = torch.device("cuda", 0)
    monkeypatch.setattr(machine, "computes_bf16", lambda _: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    assert machine.precision(resolve({"model": "x", "data": "y"}), card) == "fp32"
    for asked in ({"compute": "bf16"}, {"params": "bf16"}):
        with pytest.raises(UsageError, match=r"Tesla T4 does not compute in bf16.*--compute fp32"):
            machine.precision(resolve({"model": "x", "data": "y", **asked}), card)
    monkeypatch.setattr(machine, "computes_bf16", lambda _: True)
    assert machine.precision(resolve({"model": "x", "data": "y"}), card) == "bf16"
    assert (
        machine.precision(resolve({"model": "x", "data": "y", "compute": "fp32"}), card) == "fp32"
    )


def test_switches_reach_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    asked = resolve({"model": "x", "data": "y", "tf32": True, "deterministic": True})
    try:
        machine.set_up(asked, torch.device("cuda", 0))
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
        monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
        machine.set_up(asked, torch.device("cuda", 0))
        assert os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:64"
    finally:
        machine.set_up(resolve({"model": "x", "data": "y"}), torch.device("cpu"))
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.are_deterministic_algorithms_enabled()

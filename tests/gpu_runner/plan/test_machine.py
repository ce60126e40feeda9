"""What is free, as the kernel's own files say it, and what a card computes in."""

import os
from pathlib import Path

import pytest
import torch

from gpu_runner.config.resolve import resolve
from gpu_runner.errors import UsageError
from gpu_runner.plan import machine

GIB = 2**30


def group(place: Path, version: int, limit: str, used: int, droppable: int = 0) -> None:
    """One folder of control groups."""
    names = {1: ("limit_in_bytes", "usage_in_bytes", "total_"), 2: ("max", "current", "")}
    limit_name, used_name, prefix = names[version]
    place.mkdir(parents=True, exist_ok=True)
    (place / f"memory.{limit_name}").write_text(f"{limit}\n")
    (place / f"memory.{used_name}").write_text(f"{used}\n")
    (place / "memory.stat").write_text(f"anon 5\n{prefix}inactive_file {droppable}\n")


def left(groups: Path, own: str) -> int | None:
    (groups.parent / "own").write_text(own)
    return machine.group_left(groups, groups.parent / "own")


def test_the_tightest_limit_above_a_process_counts(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    group(groups / "batch", 2, str(8 * GIB), 3 * GIB, GIB)
    group(groups / "batch" / "job", 2, "max", 2 * GIB)
    assert left(groups, "0::/batch/job\n") == 6 * GIB
    group(groups / "batch" / "job", 2, str(4 * GIB), 2 * GIB)
    assert left(groups, "0::/batch/job\n") == 2 * GIB


def test_inside_a_container_the_top_is_its_own_group(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    group(groups, 2, str(2 * GIB), GIB)
    assert left(groups, "0::/../unseen/from/here\n") == GIB
    assert left(groups, "0::/\n") == GIB


def test_version_1_counts_by_its_own_names(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    group(groups / "memory" / "slurm", 1, str(4 * GIB), 3 * GIB, GIB // 2)
    group(groups / "memory", 1, "9223372036854771712", 5 * GIB)
    assert left(groups, "5:cpu,memory:/slurm\n1:name=systemd:/\n") == 3 * GIB // 2


@pytest.mark.parametrize("own", ["", "0::/\n", "nonsense\n", "0:cpu:/x\n"])
def test_without_a_limit_there_is_none(tmp_path: Path, own: str) -> None:
    assert left(tmp_path / "groups", own) is None
    group(tmp_path / "groups", 2, "max", 5)
    assert left(tmp_path / "groups", own) is None


def test_a_limit_that_is_passed_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "groups", 2, str(GIB), 2 * GIB)
    assert left(tmp_path / "groups", "0::/\n") == 0


def test_no_more_is_free_than_the_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "group_left", lambda: 1234)
    assert machine.free_bytes(torch.device("cpu")) == 1234
    monkeypatch.setattr(machine, "group_left", lambda: None)
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

"""What is sent: a machine and its checks, whole in both forms."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gpu_runner.machine import doctor
from gpu_runner.machine.selftest import report
from gpu_runner.machine.selftest.report import CheckOutcome

CHECKS = [
    CheckOutcome("a | b", "passed", 1.25e-7, 1e-5, "FlashAttention", 0.25),
    CheckOutcome("c", "failed", float("inf"), 1e-4, "0 of 2 blocks", 1.0),
    CheckOutcome("d", "skipped", note="there is one card"),
    CheckOutcome("e", "passed", 0.0, 0.0),
]


def test_both_forms_hold_every_check(tmp_path: Path) -> None:
    about = {"torch": "2.13.0", "card": "NVIDIA T4"}
    for name in ("x.json", "x.md"):
        report.write(tmp_path / name, about, CHECKS)
    whole = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert whole["machine"] == about
    assert [one["verdict"] for one in whole["checks"]] == ["passed", "failed", "skipped", "passed"]
    assert whole["checks"][1]["error"] == "inf", "JSON has no number for it"
    assert whole["checks"][2]["error"] is None
    text = (tmp_path / "x.md").read_text("utf-8")
    assert "| card | NVIDIA T4 |" in text
    assert "| ✓ | a \\| b | 1.2e-07 (at most 1e-05), FlashAttention | 0.2 |" in text
    assert "| · | d | there is one card | 0.0 |" in text
    assert "| ✓ | e | exactly | 0.0 |" in text


def test_a_card_is_described_by_what_decides_its_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "version"
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC\n"
    )
    monkeypatch.setattr(doctor, "DRIVER", version)
    held = SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=15 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: held)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 3))
    monkeypatch.setattr(report, "computes_bf16", lambda _: False)
    found = report.card(torch.device("cuda", 0))
    wanted = {"card": "Tesla T4", "cards": 2, "capability": "7.5", "driver": "535.183.01"}
    wanted |= {"nccl": "2.27.3", "bf16": False, "flash_attention": False}
    assert found.items() >= wanted.items()
    assert "expandable_segments" in found["allocator"]

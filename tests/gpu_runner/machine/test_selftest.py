"""Every check on this CPU, machines that compute wrong in each way it checks."""

import re
import subprocess
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

import run_process
from gpu_runner.errors import ExitCode
from gpu_runner.machine import description, selftest
from gpu_runner.machine.selftest import check as check_module
from gpu_runner.machine.selftest import gradients, optimizers, run_check, steps
from gpu_runner.machine.selftest.check import Check, DemoModel, Figure, Skipped, demo_config
from gpu_runner.plan.plan import make_plan
from own_optimizers import OWN


@pytest.fixture(scope="module")
def demo() -> DemoModel:
    return DemoModel(make_plan(demo_config("cpu")))


def find_check(name: str) -> Check:
    (found,) = [check for check in selftest.CHECKS if check.name.startswith(name)]
    return found


COMPILER = find_check("Every block is compiled")


def printed(console: Console) -> str:
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def in_children(line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """What `torchrun --standalone --nproc-per-node 2 -m MODULE DEVICE` starts."""
    *torchrun, two, m, module, device = line
    assert torchrun[1:] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    assert (two, m) == ("2", "-m")
    with tempfile.NamedTemporaryFile("r") as said:
        for child in run_process.together(run_process.call_main, (said.name, module, device)):
            child.join()
            assert child.exitcode == 0
        return subprocess.CompletedProcess(line, 0, said.read(), "")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_this_machine_passes_with_a_line_a_check(
    console: Console,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In every run but that of `--all` without the compiler, which `test_blocks` starts.

    What it starts with torchrun, which other tests start, runs in children then.
    """
    if not request.config.option.all:
        monkeypatch.setattr(selftest, "CHECKS", [one for one in selftest.CHECKS if one != COMPILER])
        monkeypatch.setattr(steps.subprocess, "run", in_children)
    assert selftest.run(console, "cpu") == ExitCode.OK, printed(console)
    first, *lines, last = printed(console).splitlines()
    assert first.startswith("PyTorch ")
    assert len(lines) == len(selftest.CHECKS)
    assert {line[0] for line in lines} == {"✓", "·"}
    assert not any("0e+00" in line for line in lines), "what is exact says so"
    skipped = [line for line in lines if line[0] == "·"]
    assert not [line for line in skipped if ": skipped, " not in line]
    assert sum("a CPU has nothing to synchronize with" in line for line in skipped) == 2
    summary = re.fullmatch(r"All (\d+) checks passed on cpu, (\d+) skipped\.", last)
    assert summary is not None
    assert [*map(int, summary.groups())] == [len(lines) - len(skipped), len(skipped)]


def test_a_check_that_raises_fails_alone_and_the_others_run(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: DemoModel) -> Figure:
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    def absent(_: DemoModel) -> Figure:
        raise Skipped("this machine has one GPU")

    checks = [Check("a", broken), Check("b", absent), Check("c", lambda _: Figure(1e-9, 1e-5))]
    checks += [Check("d", lambda _: Figure(float("nan"), 1.0)), Check("e", lambda _: Figure(0, 0))]
    monkeypatch.setattr(selftest, "CHECKS", checks)
    assert selftest.run(console, "cpu") == ExitCode.NOT_READY
    lines = printed(console).splitlines()[1:]
    assert lines[0].startswith("✗ a: RuntimeError: no kernel image is available, ")
    assert lines[1] == "· b: skipped, this machine has one GPU"
    assert lines[2].startswith("✓ c: 1.0e-09 (at most 1e-05), ")
    assert lines[3].startswith("✗ d: nan (at most 1e+00), ")
    assert lines[4].startswith("✓ e: exactly, ")
    assert lines[5] == "2 of 4 checks failed: do not train here. Run `unfrozen doctor` first."


@pytest.mark.slow
def test_a_wrong_loss_is_found(demo: DemoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    right = gradients.loss_sum

    def wrong(model: Any, batch: Any, *more: Any) -> Any:
        total, tokens = right(model, batch, *more)
        return total * (1.01 if batch.bounds is None else 1.02), tokens

    monkeypatch.setattr(gradients, "loss_sum", wrong)
    monkeypatch.setattr(check_module, "loss_sum", wrong)
    outcomes = {check.name: run_check(check, demo) for check in gradients.GRADIENTS[:6]}
    failed = [name for name, one in outcomes.items() if one.verdict == "failed"]
    assert failed == [
        "The loss agrees with numpy's, token by token",
        "Packed sequences give the gradient of the same examples one by one",
    ]
    assert run_check(find_check("fp32: gradients"), demo).verdict == "failed"


WRONG = {
    "Attention of packed": {"cu_seq_lens_q": torch.tensor([0, 233], dtype=torch.int32)},
    "Sliding-window": {"sliding_window": 17},
    "Soft-capped": {"softcap": 2.01},
    "Attention with head dimensions 80": {"scaling": 0.1},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "format"),
    [*((name, "fp32") for name in WRONG)]
    + [(name, "bf16") for name in WRONG if name != "Soft-capped"],  # its wrong cap is below bits
)
def test_a_wrong_attention_kernel_is_found(
    name: str, format: str, demo: DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (check,) = [
        one
        for one in gradients.GRADIENTS
        if one.name.startswith(name) and one.name.endswith(format)
    ]
    own = gradients.attention.attend
    monkeypatch.setattr(
        gradients.attention, "attend", lambda *a, **k: own(*a, **{**k, **WRONG[name]})
    )
    assert run_check(check, demo).verdict == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_wrong_optimizer_is_found(
    name: str, demo: DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = find_check(f"{name} updates weights")
    own = optimizers.optim.Optimizer.step
    monkeypatch.setattr(
        optimizers.optim.Optimizer, "step", lambda self, lr, *more: own(self, 1.1 * lr, *more)
    )
    assert run_check(check, demo).verdict == "failed"


@pytest.mark.slow
def test_rounding_that_loses_updates_is_found(
    demo: DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = find_check("bf16 weights with kahan")
    right = run_check(check, demo)
    assert right.verdict == "passed"
    assert re.fullmatch(r"round to nearest: 0\.\d\d of the way", right.note)
    plain = optimizers.optim.OptimizerChoice("adamw")
    monkeypatch.setattr(optimizers.optim, "OptimizerChoice", lambda *_, **__: plain)
    assert run_check(check, demo).verdict == "failed"


@pytest.mark.slow
def test_a_step_that_needs_more_memory_than_predicted_is_found(
    demo: DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = find_check("Peak memory of a step matches its prediction, fp32")
    monkeypatch.setattr(steps, "fuses", lambda *_: False)
    assert run_check(check, demo).verdict == "failed"


@pytest.mark.slow
def test_blocks_that_are_not_compiled_are_found(
    demo: DemoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.blocks, "prepare", lambda *_, **__: None)
    found = run_check(COMPILER, demo)
    assert (found.verdict, found.note) == ("failed", "0 of 2 blocks")


def test_a_gpu_is_described_by_what_decides_its_code_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "version"
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC\n"
    )
    monkeypatch.setattr(description, "DRIVER", version)
    held = SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=15 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: held)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 3))
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    found = description.describe_gpu(torch, torch.device("cuda", 0))
    wanted = {"gpu": "Tesla T4", "gpus": 2, "capability": "7.5", "driver": "535.183.01"}
    wanted |= {"nccl": "2.27.3", "bf16": False, "flash_attention": False}
    assert found.items() >= wanted.items()
    assert "expandable_segments" in found["allocator"]

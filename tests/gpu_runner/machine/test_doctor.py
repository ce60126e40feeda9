import io
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from gpu_runner.errors import ExitCode
from gpu_runner.machine.description import Outcome
from gpu_runner.machine.doctor import (
    TESTED,
    check_gpu,
    check_machine,
    check_package,
    explain_invisible_gpu,
    has_kernels,
    print_outcomes,
)
from nobody import as_nobody
from run_process import ROOT

REQUIREMENTS = ROOT / "requirements.txt"
HAS_GPU = torch.cuda.is_available()


def test_this_machine_can_run(tmp_path: Path) -> None:
    outcomes = {one.name: one for one in check_machine(tmp_path / "runs")}
    for name in ("Python", "torch", "transformers", "numpy", "disk"):
        assert outcomes[name].verdict == "passed", outcomes[name]
    assert "gloo" in outcomes["processes"].note
    assert str(tmp_path) in outcomes["disk"].note


def test_a_package_that_is_missing_comes_with_its_command() -> None:
    found = check_package("no-such-package-at-all", "1.2")
    assert found.verdict == "failed"
    assert found.remedy == "pip install 'no-such-package-at-all>=1.2'"


def test_a_package_that_is_too_old_comes_with_its_command() -> None:
    found = check_package("torch", "99.1")
    assert found.verdict == "failed"
    assert found.remedy == "pip install -U 'torch>=99.1'"
    assert check_package("torch", "2.12").verdict == "passed"


def test_a_package_newer_than_what_was_tested_is_noted_with_what_tries_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TESTED, "transformers", "5.1")
    found = check_package("transformers", "5.0")
    assert found.verdict == "noted"
    assert found.note.endswith(" (5.0 or newer; tested with 5.1)")
    assert found.remedy.endswith("selftest tries this version")
    monkeypatch.setitem(TESTED, "torch", "2.1")
    assert check_package("torch", "2.0").remedy.startswith("2.15 passes selftest on a CPU, and")


def test_what_was_tested_is_what_these_tests_run_with() -> None:
    pinned = dict(
        re.findall(r"^([\w-]+)==(\d+\.\d+)", REQUIREMENTS.read_text("utf-8"), re.MULTILINE)
    )
    assert TESTED["transformers"] == pinned["transformers"]
    assert [*map(int, torch.__version__.split(".")[:2])] >= [*map(int, TESTED["torch"].split("."))]


AMPERE_BUILD = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "compute_120"]


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((7, 5), AMPERE_BUILD, True),
        ((8, 9), AMPERE_BUILD, True),  # by sm_80 and sm_86
        ((7, 0), AMPERE_BUILD, False),  # a V100 under CUDA 13
        ((10, 3), AMPERE_BUILD, True),
        ((12, 1), AMPERE_BUILD, True),  # compiled by the driver
        ((11, 0), ["sm_80", "sm_90a", "sm_100"], False),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), [], True),  # a build that lists none
    ],
)
def test_a_gpu_that_this_pytorch_has_no_kernels_for_is_recognized(
    capability: tuple[int, int], built: list[str], runs: bool
) -> None:
    assert has_kernels(capability, built) is runs


@pytest.mark.parametrize(
    ("cuda", "driver", "note", "remedy"),
    [
        (None, "535.183.01", "(built for CPUs)", "install a CUDA build of PyTorch"),
        ("13.0", "535.183.01", "(CUDA 13.0, which needs driver 580 or newer)", "update the driver"),
        ("12.8", "535.183.01", "with driver 535.183.01", "CUDA_VISIBLE_DEVICES hides it"),
        ("12.8", "", "there is a GPU, but", "update the driver"),
    ],
)
def test_an_invisible_gpu_comes_with_its_remedy(
    cuda: str | None, driver: str, note: str, remedy: str
) -> None:
    found = explain_invisible_gpu(cuda, driver)
    assert found.verdict == "failed"
    assert note in found.note
    assert remedy in found.remedy


def stand_in(name: str, capability: tuple[int, int], cuda: str = "13.0") -> Any:
    """Return as much of PyTorch as describes one GPU and the architectures it was built for."""
    properties = SimpleNamespace(
        name=name, major=capability[0], minor=capability[1], total_memory=16 * 2**30
    )
    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda),
        backends=SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91000)),
        cuda=SimpleNamespace(
            device=lambda _: nullcontext(),
            device_count=lambda: 1,
            nccl=SimpleNamespace(version=lambda: (2, 27, 3)),
            is_bf16_supported=lambda including_emulation=True: (
                including_emulation or capability >= (8, 0)
            ),
            mem_get_info=lambda _: (15 * 2**30, 16 * 2**30),
            get_arch_list=lambda: AMPERE_BUILD,
            get_device_properties=lambda _: properties,
        ),
    )


def test_what_an_older_gpu_only_emulates_is_noted() -> None:
    found = check_gpu(stand_in("Tesla T4", (7, 5)), 0)
    assert found.verdict == "noted"
    assert "bf16 is only emulated: runs compute in fp32" in found.remedy
    assert "no FlashAttention" in found.remedy
    assert check_gpu(stand_in("NVIDIA A100", (8, 0)), 0).verdict == "passed"


def test_a_gpu_without_kernels_comes_with_the_capability_it_needs() -> None:
    found = check_gpu(stand_in("Tesla V100", (7, 0)), 0)
    assert found.verdict == "failed"
    assert (
        "Tesla V100 (compute capability 7.0; everything runs from 8.0), 15.0 of 16.0 GiB"
        in found.note
    )
    assert "no kernels for it (sm_75, sm_80" in found.remedy
    assert "built for an older CUDA" in found.remedy


def test_a_package_is_shown_beside_the_version_it_needs() -> None:
    assert check_package("numpy", "2.0").note.endswith(" (2.0 or newer)")
    tested = f" (2.12 or newer; tested with {TESTED['torch']})"
    assert check_package("torch", "2.12").note.endswith(tested)


def test_a_folder_that_is_not_writable_is_reported(shared: Path) -> None:
    check_machine(shared)  # imports what a user without rights may not find
    shared.chmod(0o555)
    with as_nobody():
        (disk,) = (one for one in check_machine(shared) if one.name == "disk")
    assert (disk.verdict, disk.note) == ("failed", f"{shared} is not writable")


@pytest.mark.parametrize("name", ["file", "file/runs", "link"])
def test_runs_that_can_be_no_directory_are_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (disk,) = (one for one in check_machine(tmp_path / name) if one.name == "disk")
    assert disk.verdict == "failed"
    assert disk.note == f"{tmp_path / name.split('/')[0]} is no directory"
    assert disk.remedy == "give --runs DIR"


@pytest.mark.slow
def test_a_pytorch_that_cannot_be_loaded_is_a_finding_not_a_traceback() -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['x', 'doctor']; import runpy\n"
    code += "runpy.run_module('gpu_runner', run_name='__main__')"
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "COLUMNS": "200"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.returncode == ExitCode.NOT_READY, done.stderr
    assert "installed, but it cannot be imported" in done.stdout
    assert "pip install --force-reinstall torch" in done.stdout


def test_the_screen_and_the_exit_code_report_what_is_missing() -> None:
    text = io.StringIO()
    outcomes = [Outcome("a", "passed", "1"), Outcome("b", "failed", "not there", "pip install b")]
    assert print_outcomes(Console(file=text, width=80), outcomes) == ExitCode.NOT_READY
    assert "pip install b" in text.getvalue()
    assert "Not ready: b." in text.getvalue()
    assert print_outcomes(Console(file=io.StringIO()), outcomes[:1]) == ExitCode.OK


def test_the_next_command_is_printed_as_one_types_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.chdir(ROOT)
    print_outcomes(Console(file=text), [Outcome("a", "passed", "1")])
    assert re.search(r"Ready: \S*unfrozen train --model demo", text.getvalue())


@pytest.mark.parametrize("width", [80, 120])
def test_all_of_it_fits_one_screen(tmp_path: Path, width: int) -> None:
    text = io.StringIO()
    print_outcomes(Console(file=text, width=width), check_machine(tmp_path))
    assert text.getvalue().count("\n") <= 40
    assert "no GPU: runs use the CPU, which works and is slower" in text.getvalue() or HAS_GPU

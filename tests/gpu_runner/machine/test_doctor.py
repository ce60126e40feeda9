import io
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from gpu_runner.errors import ExitCode
from gpu_runner.machine.doctor import (
    Finding,
    _card,
    _slower,
    examine,
    package,
    runs_on,
    show,
    unseen,
)
from run_process import ROOT

CARD = torch.cuda.is_available()


def test_this_machine_can_run(tmp_path: Path) -> None:
    findings = {one.name: one for one in examine(tmp_path / "runs")}
    for name in ("Python", "torch", "transformers", "numpy", "disk"):
        assert findings[name].verdict == "ok", findings[name]
    assert "gloo" in findings["processes"].found
    assert str(tmp_path) in findings["disk"].found


def test_a_package_that_is_missing_comes_with_its_command() -> None:
    found = package("no-such-package-at-all", "1.2")
    assert found.verdict == "missing"
    assert found.remedy == "pip install 'no-such-package-at-all>=1.2'"


def test_a_package_that_is_too_old_comes_with_its_command() -> None:
    found = package("torch", "99.1")
    assert found.verdict == "missing"
    assert found.remedy == "pip install -U 'torch>=99.1'"
    assert package("torch", "2.12").verdict == "ok"


class Turing:
    """As much of PyTorch as says what a T4 is."""

    class cuda:
        device = staticmethod(lambda _: nullcontext())
        is_bf16_supported = staticmethod(lambda including_emulation=True: including_emulation)


def test_what_an_older_card_only_emulates_is_said() -> None:
    said = _slower(Turing, 0, (7, 5))
    assert "no bf16 of its own: runs compute in fp32" in said
    assert "no FlashAttention" in said
    assert "FlashAttention" not in _slower(Turing, 0, (8, 0))


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
        ((9, 0), [], True),  # a build that does not tell
    ],
)
def test_a_card_that_this_pytorch_has_no_kernels_for_is_known(
    capability: tuple[int, int], built: list[str], runs: bool
) -> None:
    assert runs_on(capability, built) is runs


@pytest.mark.parametrize(
    ("cuda", "driver", "said", "remedy"),
    [
        (None, "535.183.01", "(built for CPUs)", "install a CUDA build of PyTorch"),
        ("13.0", "535.183.01", "(CUDA 13.0, which needs driver 580 or newer)", "update the driver"),
        ("12.8", "535.183.01", "with driver 535.183.01", "CUDA_VISIBLE_DEVICES hides it"),
        ("12.8", "", "there is a card, but", "update the driver"),
    ],
)
def test_a_card_that_is_not_seen_comes_with_what_it_takes(
    cuda: str | None, driver: str, said: str, remedy: str
) -> None:
    found = unseen(cuda, driver)
    assert found.verdict == "missing"
    assert said in found.found
    assert remedy in found.remedy


class V100:
    """As much of PyTorch as says which card there is and what it was built for."""

    class version:
        cuda = "13.0"

    class cuda:
        device = staticmethod(lambda _: nullcontext())
        is_bf16_supported = staticmethod(lambda including_emulation=True: including_emulation)
        mem_get_info = staticmethod(lambda _: (15 * 2**30, 16 * 2**30))
        get_arch_list = staticmethod(lambda: AMPERE_BUILD)
        get_device_properties = staticmethod(
            lambda _: SimpleNamespace(name="Tesla V100", major=7, minor=0)
        )


def test_a_card_is_shown_beside_what_it_would_have_to_be() -> None:
    found = _card(V100, 0)
    assert found.verdict == "missing"
    assert "Tesla V100 (compute capability 7.0; 8.0 has all), 15.0 of 16.0 GiB" in found.found
    assert "no kernels for it (sm_75, sm_80" in found.remedy
    assert "built for an older CUDA" in found.remedy


def test_a_package_is_shown_beside_the_version_it_has_to_have() -> None:
    assert package("torch", "2.12").found.endswith(" (2.12 or newer)")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    (disk,) = (one for one in examine(tmp_path) if one.name == "disk")
    assert disk.verdict == "missing"


@pytest.mark.parametrize("name", ["file", "file/runs", "link"])
def test_runs_that_can_be_no_directory_are_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (disk,) = (one for one in examine(tmp_path / name) if one.name == "disk")
    assert disk.verdict == "missing"
    assert disk.found == f"{tmp_path / name.split('/')[0]} is no directory"
    assert disk.remedy == "give --runs DIR"


def test_a_pytorch_that_cannot_be_loaded_is_a_finding_not_a_traceback() -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['x', 'doctor']; import runpy\n"
    code += "runpy.run_module('gpu_runner', run_name='__main__')"
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "py"), "COLUMNS": "200"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.returncode == ExitCode.NOT_READY, done.stderr
    assert "installed, but it cannot be loaded" in done.stdout
    assert "pip install --force-reinstall torch" in done.stdout


def test_one_screen_says_what_is_missing_and_the_exit_code_too() -> None:
    text = io.StringIO()
    findings = [Finding("a", "ok", "1"), Finding("b", "missing", "not there", "pip install b")]
    assert show(Console(file=text, width=80), findings) == ExitCode.NOT_READY
    assert "pip install b" in text.getvalue()
    assert "Not ready: b." in text.getvalue()
    assert show(Console(file=io.StringIO()), findings[:1]) == ExitCode.OK


def test_what_is_ready_to_be_typed_is_typed_so(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.chdir(ROOT)
    show(Console(file=text), [Finding("a", "ok", "1")])
    assert re.search(r"Ready: \S*unfrozen train --model demo", text.getvalue())


@pytest.mark.parametrize("width", [80, 120])
def test_all_of_it_fits_one_screen(tmp_path: Path, width: int) -> None:
    text = io.StringIO()
    show(Console(file=text, width=width), examine(tmp_path))
    assert text.getvalue().count("\n") <= 40
    assert "no card: runs take the CPU, which works and is slower" in text.getvalue() or CARD

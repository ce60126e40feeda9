"""What a process frees it has at hand again, without the system's help."""

import platform
import resource
from pathlib import Path

import pytest
import torch

from gpu_runner.cli.command_line import main
from gpu_runner.plan.machine import keep_freed
from run_process import children

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone"
)


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def take_and_free(place: str, words: list[str]) -> None:
    """Page faults of 15 large tensors, in a child that has done what `words` say, go to `place`."""
    if words == ["keep"]:
        assert keep_freed()
    elif words:
        with pytest.raises(SystemExit) as end:
            main([*words, f"--runs={place}-runs"])
        assert end.value.code == 0
    for megabytes in (40, 90, 60):
        torch.ones(megabytes << 18)
    before = faults()
    for _ in range(5):
        for megabytes in (40, 90, 60):
            torch.ones(megabytes << 18)
    Path(place).write_text(str(faults() - before))


def page_faults(place: Path, *words: str) -> int:
    child = children().Process(target=take_and_free, args=(str(place), list(words)))
    child.start()
    child.join()
    return int(place.read_text())


@pytest.mark.slow
def test_kept_memory_is_not_mapped_again(tmp_path: Path) -> None:
    kept, given_back = page_faults(tmp_path / "kept", "keep"), page_faults(tmp_path / "given_back")
    assert kept < 1000
    assert given_back > 10 * kept


@pytest.mark.slow
def test_a_run_keeps_its_memory(model_dir: Path, sums_file: Path, tmp_path: Path) -> None:
    given = f"--model={model_dir}", f"--data={sums_file}", "--general=none", "--device=cpu"
    assert page_faults(tmp_path / "run", "train", *given, "--steps=2") < 1000

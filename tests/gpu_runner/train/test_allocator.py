"""What a process frees it has at hand again, without the system's help."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone"
)

TAKE_AND_FREE = """
import resource, sys
import torch
from gpu_runner import __main__
from gpu_runner.train import allocator

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

first, *words = sys.argv[1:]
if first == "keep":
    assert allocator.keep_freed()
elif first == "train":
    try:
        __main__.main([first, *words])
    except SystemExit as end:
        assert end.code == 0
for megabytes in (40, 90, 60):
    torch.ones(megabytes << 18)
before = faults()
for _ in range(5):
    for megabytes in (40, 90, 60):
        torch.ones(megabytes << 18)
print(faults() - before)
"""


def page_faults(*words: str) -> int:
    """Of 15 large tensors, in a process that has done what `words` say."""
    command = [sys.executable, "-c", TAKE_AND_FREE, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_kept_memory_is_not_mapped_again() -> None:
    kept, given_back = (page_faults(word) for word in ("keep", "give back"))
    assert kept < 1000
    assert given_back > 10 * kept


@pytest.mark.slow
def test_a_run_keeps_its_memory(model_dir: Path, sums_file: Path, tmp_path: Path) -> None:
    given = f"--model={model_dir}", f"--data={sums_file}", f"--runs={tmp_path}"
    assert page_faults("train", *given, "--general=none", "--device=cpu", "--steps=2") < 1000

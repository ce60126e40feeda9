"""What a process frees it has at hand again, without the system's help."""

import platform
import subprocess
import sys

import pytest

TAKE_AND_FREE = """
import resource, sys
import torch
from gpu_runner import host_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert host_memory.keep_freed()
for megabytes in (40, 90, 60):
    torch.ones(megabytes << 18)
before = faults()
for _ in range(5):
    for megabytes in (40, 90, 60):
        torch.ones(megabytes << 18)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do not ask")
def test_kept_memory_is_not_mapped_again() -> None:
    kept, given_back = (page_faults(word) for word in ("keep", "give back"))
    assert kept < 1000
    assert given_back > 10 * kept


def page_faults(word: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", TAKE_AND_FREE, word], capture_output=True, text=True, check=True
    )
    return int(done.stdout)

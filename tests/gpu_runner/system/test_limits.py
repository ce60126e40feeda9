"""What holds a process's memory, as the kernel's own files say it."""

import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from gpu_runner.system import limits
from run_process import ROOT

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
    found = limits.group_limits(groups, groups.parent / "own")
    return min((limit.left_bytes for limit in found), default=None)


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


def test_an_exceeded_limit_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "groups", 2, str(GIB), 2 * GIB)
    assert left(tmp_path / "groups", "0::/\n") == 0


def test_a_group_with_less_than_the_machine_is_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = limits.Limit("memory of a control group", 1000, 234)
    monkeypatch.setattr(limits, "group_limits", lambda: [job])
    monkeypatch.setattr(limits, "shell_limits", lambda: [])
    assert limits.memory() == limits.tightest() == job
    assert job.used_bytes == 766
    monkeypatch.setattr(limits, "group_limits", lambda: [])
    assert limits.memory().total_bytes == psutil.virtual_memory().total


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what counts")
@pytest.mark.parametrize(("name", "words"), [("AS", "ulimit -v"), ("DATA", "ulimit -d")])
def test_a_limit_of_the_shell_is_the_tightest_and_holds_for_real(name: str, words: str) -> None:
    script = f"""
import resource
from gpu_runner.system import limits
resource.setrlimit(resource.RLIMIT_{name}, (1 << 28, 1 << 28))
found = limits.tightest()
assert {words!r} in found.name and found.total_bytes == 1 << 28
assert 0 < found.left_bytes < 1 << 28
bytearray(found.left_bytes // 2)
try:
    bytearray(found.left_bytes + (1 << 20))
except MemoryError:
    raise SystemExit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        env={"PYTHONPATH": str(ROOT / "py"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 7


def test_without_limits_of_the_shell_there_are_none() -> None:
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
    assert limits.shell_limits() == []

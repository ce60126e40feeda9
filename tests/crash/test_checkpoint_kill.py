"""A checkpoint whose writer dies at every boundary: the newest whole one loads, always.

The writer runs in a child process that counts its boundaries: every call that touches the disk
(create, rename, remove) and every flush. It dies at the k-th, as by kill −9. As after a power cut,
what it had not flushed by then is lost: those files are cut to half before it dies.
"""

import hashlib
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch

import tiny_llama
from conftest import matrix
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint import training_state
from gpu_runner.checkpoint.origins import Origins
from gpu_runner.model import sharded_load
from gpu_runner.model.load import Source
from gpu_runner.optim import optimizer as optim
from gpu_runner.run.checkpointer import Checkpointer
from gpu_runner.run.directory import CHECKPOINTS
from gpu_runner.run.recorder import History
from gpu_runner.train.loop import State
from gpu_runner.world import World

pytestmark = pytest.mark.slow

TOUCHES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
MOST_BOUNDARIES = 200
ORIGINS = Origins("a" * 64, "b" * 64, {}, {}, {}, {})
LAST_TWO = {"step-000001", "step-000002"}
loaded: set[str] = set()


@pytest.fixture(autouse=True)
def _no_flush_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def checkpointer(directory: Path, **ways: bool) -> Checkpointer:
    """Who saves a trained tiny model in `directory`, in some `ways`."""
    place = directory / "model"
    return Checkpointer(directory, place, *trained(), History(), ORIGINS, World(), **ways)


@cache
def trained() -> tuple[Any, Any, Any]:
    """A tiny model, its tokenizer, and an optimizer that has taken a step."""
    torch.set_num_threads(1)
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1e-3, torch.ones(()), 0.0)
    return model, tiny_llama.tokenizer(), optimizer


def save_and_prune(directory: Path, step: int, **ways: bool) -> None:
    """What a run does at a checkpoint."""
    kept = checkpointer(directory, **ways)
    kept.history.add_evaluation(step, {"task": 1.0}, None)
    saved = kept.save(State(step=step))
    if saved is None:
        _, saved = kept.settled() or (None, None)
    assert saved is not None
    kept.prune(saved)


SHARDED = {"sharded": True}
BESIDE = {"asynchronous": True}
WAYS = {
    "whole": {},
    "shards": SHARDED,
    "whole-beside-steps": BESIDE,
    "shards-beside-steps": SHARDED | BESIDE,
}


def dies_at(boundary: int, work: Callable[[], None], below: Path) -> bool:
    """Run `work` in a child that dies at the `boundary`-th touch of `below`; False if it lives."""
    child = os.fork()
    if child == 0:
        try:
            watch(boundary, below)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def watch(boundary: int, below: Path) -> None:
    """Count this process's touches of `below` and die at the `boundary`-th of them."""
    count = 0
    safe: set[str] = set()

    def reached(path: str) -> None:
        nonlocal count
        if not path.startswith(str(below)):
            return
        count += 1
        if count == boundary:
            lose_what_is_not_flushed(below, safe)
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if event in TOUCHES or writes:
            reached(str(arguments[0]))

    def fsync(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        reached(path)
        safe.add(path)
        reached(path)

    os.fsync = fsync
    sys.addaudithook(hear)


def lose_what_is_not_flushed(below: Path, safe: set[str]) -> None:
    """Cut to half what the writer has made of step 2, under either name, and not flushed."""
    names = {final_name(path) for path in safe}
    for file in below.rglob("*step-000002*/**/*"):
        if file.is_file() and final_name(str(file)) not in names:
            os.truncate(file, file.stat().st_size // 2)


def final_name(path: str) -> str:
    """What a file is called once its folder has its name."""
    return re.sub(r"/\.(step-\d+)\.[0-9a-f]{8}\.unfinished/", r"/\1/", path)


@pytest.mark.parametrize("way", matrix(WAYS, "shards-beside-steps", "whole-beside-steps"))
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_killed_at_every_boundary_the_newest_whole_checkpoint_loads(
    way: str, tmp_path: Path
) -> None:
    ways = WAYS[way]
    deaths, newer, before = 0, 0, tmp_path / "before"
    for step in (0, 1):
        save_and_prune(before, step, **ways)
    for boundary in range(1, MOST_BOUNDARIES):
        directory = copytree(before, tmp_path / str(boundary))
        root = directory / CHECKPOINTS
        died = dies_at(boundary, lambda d=directory: save_and_prune(d, 2, **ways), directory)  # type: ignore[misc]
        found, refused = checkpoint.newest(root)
        assert found is not None, boundary
        assert refused == [], boundary  # what has its final name is whole
        loads(found)
        newer += found.name == "step-000002"
        if not died:
            assert {path.name for path in root.iterdir()} == LAST_TWO
            break
        deaths += 1
        save_and_prune(
            directory, 2, **ways
        )  # whatever lies there, the next save works and cleans up
        assert {path.name for path in root.iterdir()} == LAST_TWO, boundary
    assert deaths > 25
    assert newer > 2  # some of them died after the rename, while older ones were removed


@pytest.mark.parametrize("way", matrix(WAYS, "whole"))
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_replacing_a_checkpoint_of_the_same_step_never_leaves_none(
    way: str, tmp_path: Path
) -> None:
    ways = WAYS[way]
    save_and_prune(tmp_path / "before", 1, **ways)
    for boundary in range(1, MOST_BOUNDARIES):
        directory = copytree(tmp_path / "before", tmp_path / str(boundary))
        died = dies_at(boundary, lambda d=directory: save_and_prune(d, 1, **ways), directory)  # type: ignore[misc]
        found, _ = checkpoint.newest(directory / CHECKPOINTS)
        assert found is not None, boundary
        loads(found)
        if not died:
            break


def loads(path: Path) -> None:
    """The checkpoint is one: model, moments and random numbers can be read back.

    The same files in another folder are read once.
    """
    if (files := digest(path)) in loaded:
        return
    if (path / "weights").is_dir():
        source = Source("directory", "x", str(path))
        found = sharded_load.begin(source, tiny_llama.tokenizer(), "fp32")
        found.fill(torch.device("cpu"))
        model = found.model
    else:
        model = tiny_llama.LlamaForCausalLM.from_pretrained(path)
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    training_state.restore(path, model, optimizer, World())
    assert training_state.read_state(path)["state"]["step"] in (1, 2)
    assert len(optimizer.state) == len(list(model.parameters()))
    loaded.add(files)


def digest(path: Path) -> str:
    """One for each content of a folder: the names of its files, and what is in them."""
    found = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        data = file.read_bytes()
        found.update(f"{file.relative_to(path)} {len(data)} ".encode() + data)
    return found.hexdigest()

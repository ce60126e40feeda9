"""Two watched processes that train together compute the same, and none of them hangs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import fully_shard

import run_process
import tiny_llama
import unfrozen
from conftest import matrix
from gpu_runner.world.processes import Rendezvous
from watched_loops import alerts, events, model_of, rows, series, train

pytestmark = pytest.mark.slow


def together(options: dict[str, Any]) -> None:
    """A loop of two processes, watched or not; the first writes the weights to a file.

    kind      "copies" (DistributedDataParallel) or "parts" (FSDP2)
    watchers  how many of the processes watch
    dies      the step after which the second is gone
    """
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    model: Any = model_of()
    if options["kind"] == "copies":
        model = torch.nn.parallel.DistributedDataParallel(model)
    else:
        for block in model.model.layers:
            fully_shard(block)
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    if "waits" in options:  # seconds for the other process, in place of twenty
        Rendezvous.wait_for_all.__defaults__ = (options["waits"],)
    run = (
        unfrozen.watch(model, optimizer, **options["watch"]) if rank < options["watchers"] else None
    )
    try:
        _steps(model, optimizer, rank, options)
    except Exception as error:
        if run is not None:
            run.__exit__(type(error), error, None)
        Path(options["weights"]).write_text(f"{type(error).__name__}: {error}")
        return
    if run is not None:
        run.close()
    named = {name: whole(value) for name, value in model.state_dict().items()}
    if rank == 0:
        torch.save(named, options["weights"])
    del model, optimizer, run  # the wrapper, if it lets go of the group last, may wait for ever
    torch.distributed.destroy_process_group()


def _steps(model: Any, optimizer: Any, rank: int, options: dict[str, Any]) -> None:
    for step in range(4):
        if rank == 1 and step == options.get("dies"):
            os._exit(9)
        train(model, optimizer, 1, seed=2 * step + rank, rows=8, length=64)


def whole(value: Any) -> torch.Tensor:
    """All of a tensor of which this process may hold a part."""
    found: torch.Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return found


def run(place: Path, kind: str, watchers: int, **more: Any) -> tuple[Path, list[int]]:
    """Let them train; the file of the weights, and how each process ended."""
    weights = place / f"{kind}-{watchers}.pt"
    watch: dict[str, Any] = {"runs": str(place), "name": f"{kind}-{watchers}", "eval_every": 2}
    watch |= {"task": rows(), "tokenizer": tiny_llama.tokenizer()}
    options = {"kind": kind, "watchers": watchers, "watch": watch, "weights": str(weights), **more}
    started = run_process.together(together, options)
    for child in started:
        child.join()
    return weights, [child.exitcode for child in started]


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The weights after the training of either kind that nobody watched."""

    @cache
    def train(kind: str) -> dict[str, Any]:
        weights, codes = run(tmp_path_factory.mktemp(kind), kind, 0)
        assert codes == [0, 0]
        found: dict[str, Any] = torch.load(weights)
        return found

    return train


@pytest.mark.parametrize(
    ("kind", "watchers"),
    matrix([("copies", 1), ("copies", 2), ("parts", 2)], ("copies", 1), ("parts", 2)),
)
def test_watched_processes_compute_the_same_and_forgetting_is_measured(
    tmp_path: Path, kind: str, watchers: int, unwatched: Callable[[str], dict[str, Any]]
) -> None:
    weights, codes = run(tmp_path, kind, watchers)
    assert codes == [0, 0]
    found = torch.load(weights)
    assert all(torch.equal(found[name], value) for name, value in unwatched(kind).items())
    log = tmp_path / f"{kind}-{watchers}"
    assert len(series(log, "train/loss")) == 4
    (start,) = events(log, "run.start")
    assert start["hardware"]["processes"] == 2
    assert start["can"] == []  # one that pauses alone would leave the other waiting
    assert [event["step"] for event in events(log, "eval")] == [0, 2, 4]
    end = events(log, "run.end")[0]
    assert end["status"] == "finished"
    assert (
        -0.03
        < end["summary"]["memory_ratio"] - 1
        < 0.03 + run_process.late_share(events(log, "mem"))
    )
    if kind == "parts":
        assert alerts(log) == "Drift is not measured: the weights are sharded."
        assert {event["instant"] for event in events(log, "mem")} >= {"backward", "optimizer_step"}
    assert [one.name for one in tmp_path.iterdir() if one.is_dir()] == [log.name]


def test_a_sharded_model_is_not_scored_unless_all_processes_watch(tmp_path: Path) -> None:
    weights, codes = run(tmp_path, "parts", 1, waits=2.0)
    assert codes == [0, 0]
    log = tmp_path / "parts-1"
    assert len(series(log, "train/loss")) == 4
    assert not events(log, "eval")
    assert "Call unfrozen.watch in every process" in alerts(log)
    assert torch.load(weights)


@pytest.mark.parametrize("kind", matrix(["copies", "parts"], "parts"))
def test_a_dead_process_is_how_the_run_ended(tmp_path: Path, kind: str) -> None:
    told, codes = run(tmp_path, kind, 2, dies=2, waits=5.0)
    assert codes == [0, 9]
    assert "RuntimeError" in told.read_text()  # gloo's own, as without us
    end = events(tmp_path / f"{kind}-2")[-1]
    assert end["status"] == "failed"
    assert "another process ended" in end["reason"]

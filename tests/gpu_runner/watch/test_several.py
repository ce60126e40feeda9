"""Two processes that train together: the first one is watched, and both compute as they would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import run_process
import unfrozen
from watched_loops import events, model_of, series, train

pytestmark = pytest.mark.slow


def distributed(options: dict[str, Any]) -> None:
    """A loop under DistributedDataParallel, watched or not; its weights go to a file."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(model_of())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rank = torch.distributed.get_rank()
    run = (
        unfrozen.watch(model, optimizer, runs=options["runs"], name="both")
        if options["watched"]
        else None
    )
    train(model, optimizer, 3, seed=rank)
    if run is not None:
        run.close()
    if rank == 0:
        torch.save(model.module.state_dict(), options["weights"])
    del model, optimizer, run  # the wrapper, if it lets go of the group last, may wait for ever
    torch.distributed.destroy_process_group()


def test_the_first_of_two_processes_is_watched(tmp_path: Path) -> None:
    found = []
    for watched in (False, True):
        weights = tmp_path / f"{watched}.pt"
        options = {"runs": str(tmp_path), "watched": watched, "weights": str(weights)}
        for child in run_process.together(distributed, options):
            child.join(300)
            assert child.exitcode == 0
        found.append(torch.load(weights))
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
    assert len(series(tmp_path / "both", "train/loss")) == 3
    (start,) = events(tmp_path / "both", "run.start")
    assert start["hardware"]["processes"] == 2
    assert start["can"] == []  # one that pauses alone would leave the other waiting

from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import run_process
import tiny_llama
from gpu_runner.errors import SystemFailure, UsageError
from gpu_runner.world import (
    World,
    as_sharded,
    blocks_of,
    full_tensor,
    join,
    local,
    rows_of,
    shard_like,
)

CPU = torch.device("cpu")


def test_alone_nothing_is_sent_copied_or_cut() -> None:
    world = World()
    tensor = torch.arange(3.0)
    assert world.sum(tensor) is tensor
    assert world.norm(tensor) is tensor
    assert world.any(True, False) == (True, False)
    assert world.run(lambda model, n: (model, n), "model", 2) == ("model", 2)
    assert local(tensor) is full_tensor(tensor) is shard_like(tensor, tensor) is tensor
    assert tensor[rows_of(tensor)].equal(tensor)
    model = tiny_llama.model()
    before = dict(model.named_parameters())
    world.shard(model, None)
    assert all(before[name] is parameter for name, parameter in model.named_parameters())
    world.close()


def test_a_shard_stays_on_its_device_beside_a_parameter_on_another() -> None:
    distributed.init_process_group(
        "gloo", store=distributed.HashStore(), rank=0, world_size=1, timeout=timedelta(seconds=60)
    )
    try:
        mesh = init_device_mesh("cpu", (1,))
        parameter = distribute_tensor(torch.ones(4, 3, dtype=torch.bfloat16), mesh, [Shard(0)])
        part = torch.zeros(4, 3, device="meta")
        state = as_sharded(parameter, part)
        assert local(state).device == part.device  # `DTensor.from_local` would move it
        assert (state.dtype, tuple(state.shape)) == (torch.float32, (4, 3))
        assert rows_of(state) == rows_of(parameter)
        assert full_tensor(as_sharded(parameter, torch.ones(4, 3))).sum() == 12
    finally:
        distributed.destroy_process_group()


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(CPU).size == 1


def test_variables_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match=r"no number .*'two'.*start with torchrun"):
        join(CPU)


def test_others_that_cannot_be_found_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("WORLD_SIZE", "2"),
        ("RANK", "1"),
        ("MASTER_ADDR", "no.such.host.invalid"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(SystemFailure, match=r"process 1 of 2 found no way .*no\.such\.host"):
        join(CPU)


@pytest.mark.parametrize(("micro_batches", "processes"), [(1, 1), (2, 2), (12, 4)])
def test_micro_batches_that_can_be_dealt_out_are_taken(micro_batches: int, processes: int) -> None:
    World(size=processes).check(micro_batches)


@pytest.mark.parametrize(("parts", "fitting"), [(3, "2, 4"), (8, "2, 4")])
def test_copies_that_would_not_be_whole_are_refused(
    parts: int, fitting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match=rf"shard_size {parts}.* there are 4.*one of {fitting}\."):
        join(CPU, parts)


def test_micro_batches_that_cannot_are_refused_with_a_remedy() -> None:
    with pytest.raises(UsageError, match=r"--grad-accum 6 .* among 4 processes.*--grad-accum 8"):
        World(size=4).check(6)


def test_the_blocks_of_a_model_are_its_layers() -> None:
    model = tiny_llama.model()
    assert blocks_of(model) == list(model.model.layers)
    assert blocks_of(nn.Linear(1, 1)) == []


@pytest.mark.slow
def test_nobody_waits_for_a_first_process_that_fails_in_an_unforeseen_way(tmp_path: Path) -> None:
    children = run_process.together(run_process.fail_on_first, str(tmp_path))
    for child in children:
        child.join(60)
    waiting = [child for child in children if child.is_alive()]
    for child in waiting:
        child.kill()
    assert not waiting
    heard = {path.name: path.read_text() for path in tmp_path.iterdir()}
    what = "ZeroDivisionError: integer division or modulo by zero"
    assert heard == {"0": what, "1": f"SystemFailure: the first process failed: {what}"}

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import run_process
import tiny_llama
from gpu_runner.checkpoint import training_state
from gpu_runner.errors import CheckpointError
from gpu_runner.optim import optimizer as optim
from gpu_runner.world import World

MAPS = Path("/proc/self/maps")


def trained() -> tuple[torch.nn.Module, optim.Optimizer]:
    model: torch.nn.Module = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(1e-3, torch.ones(()), 0.0)
    return model, optimizer


def save(directory: Path, model: Any, optimizer: optim.Optimizer, state: Any = None) -> Path:
    tensors, metadata = training_state.collect(model, optimizer, World())
    training_state.write(directory, tensors, metadata)
    training_state.write_state(directory, state or {})
    return directory


def test_moments_step_counts_and_random_numbers_come_back_exactly(tmp_path: Path) -> None:
    model, optimizer = trained()
    torch.manual_seed(5)
    save(tmp_path, model, optimizer, {"step": 1})
    expected = torch.rand(3)
    fresh = optim.build(model, lr=1e-3, weight_decay=0.0)
    training_state.restore(tmp_path, model, fresh, World())
    assert torch.equal(torch.rand(3), expected)
    for parameter, held in optimizer.state.items():
        assert held.keys() == fresh.state[parameter].keys()
        assert all(torch.equal(held[key], fresh.state[parameter][key]) for key in held)
    assert training_state.read_state(tmp_path) == {"version": 1, "step": 1}


def test_before_the_first_step_there_are_no_moments(tmp_path: Path) -> None:
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    training_state.restore(save(tmp_path, model, optimizer), model, optimizer, World())
    assert not optimizer.state


def test_a_plain_number_of_an_optimizer_comes_back_too(tmp_path: Path) -> None:
    model, optimizer = trained()
    first = next(iter(model.parameters()))
    optimizer.state[first]["updates"] = 7
    fresh = optim.build(model, lr=1e-3, weight_decay=0.0)
    training_state.restore(save(tmp_path, model, optimizer), model, fresh, World())
    assert fresh.state[first]["updates"] == 7


def test_a_missing_moment_is_refused_by_name(tmp_path: Path) -> None:
    model, optimizer = trained()
    tensors, metadata = training_state.collect(model, optimizer, World())
    del tensors["exp_avg_sq.model.embed_tokens.weight"]
    training_state.write(tmp_path, tensors, metadata)
    with pytest.raises(CheckpointError, match=r"has no exp_avg_sq of model\.embed_tokens"):
        training_state.restore(tmp_path, model, optimizer, World())


def test_a_moment_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    model, optimizer = trained()
    tensors, metadata = training_state.collect(model, optimizer, World())
    tensors["exp_avg.model.embed_tokens.weight"] = torch.zeros(3, 3)
    training_state.write(tmp_path, tensors, metadata)
    with pytest.raises(CheckpointError, match=r"embed_tokens.* is \(3, 3\), the parameter"):
        training_state.restore(tmp_path, model, optimizer, World())


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    model, optimizer = trained()
    file = save(tmp_path, model, optimizer) / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors cannot be read"):
        training_state.restore(tmp_path, model, optimizer, World())


def test_a_state_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps([1]))
    with pytest.raises(CheckpointError, match="not a JSON object"):
        training_state.read_state(tmp_path)


def test_a_checkpoint_under_the_name_of_another_step_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "step-000004"
    directory.mkdir()
    (directory / "state.json").write_text('{"version": 1, "state": {"step": 3}}')
    with pytest.raises(CheckpointError, match=r"is of step 3, not of the step in its path"):
        training_state.read_state(directory)


@pytest.mark.slow
def test_each_process_holds_its_part_of_the_moments_and_no_more(tmp_path: Path) -> None:
    """A view of the whole tensor counted 1.26 times what was predicted."""
    for child in run_process.together(run_process.restore_and_weigh, str(tmp_path)):
        child.join()
        assert child.exitcode == 0
    for rank in "01":
        own, behind = map(int, (tmp_path / rank).read_text().split())
        assert behind <= 1.01 * own


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux says what is mapped")
def test_moments_that_were_read_let_go_of_their_file(tmp_path: Path) -> None:
    model, optimizer = trained()
    file = save(tmp_path, model, optimizer) / "optimizer.safetensors"
    fresh = optim.build(model, lr=1e-3, weight_decay=0.0)
    training_state.restore(tmp_path, model, fresh, World())
    assert str(file) not in MAPS.read_text()

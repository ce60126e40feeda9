import json
import os
import stat
from pathlib import Path

import pytest
import torch

import tiny_llama
from gpu_runner import checkpoint, optim
from gpu_runner.errors import CheckpointError, SystemFailure


def write_two(directory: Path) -> None:
    (directory / "a.bin").write_bytes(b"abc")
    (directory / "b.bin").write_bytes(b"defg")


def trained() -> tuple[torch.nn.Module, torch.optim.AdamW]:
    model: torch.nn.Module = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optim.step(optimizer, lr=1e-3, norm=torch.ones(()), clip=0.0)
    return model, optimizer


def test_a_published_directory_is_whole_and_verified(tmp_path: Path) -> None:
    saved = checkpoint.publish(tmp_path / "step-000001", write_two)
    checkpoint.verify(saved.path)
    assert saved.size_bytes == 7
    assert [p.name for p in tmp_path.iterdir()] == ["step-000001"]


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        write_two(directory)
        raise OSError(28, "No space left on device")

    with pytest.raises(SystemFailure, match=r"No space left on device.*Make room"):
        checkpoint.publish(tmp_path / "step-000001", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(SystemFailure, match="Permission denied"):
        checkpoint.publish(tmp_path / "step-000001", write_two)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda p: (p / "a.bin").unlink(), "a.bin is missing"),
        (lambda p: (p / "a.bin").write_bytes(b"ab"), "a.bin has 2 bytes, not 3"),
        (lambda p: (p / "a.bin").write_bytes(b"abd"), "a.bin is not the file that was saved"),
        (lambda p: (p / "manifest.json").write_text("{"), "no readable manifest.json"),
        (lambda p: (p / "manifest.json").unlink(), "no readable manifest.json"),
    ],
)
def test_damage_is_named_and_an_older_checkpoint_is_taken(
    tmp_path: Path, damage: object, said: str
) -> None:
    older = checkpoint.publish(tmp_path / "step-000001", write_two).path
    newer = checkpoint.publish(tmp_path / "step-000002", write_two).path
    assert callable(damage)
    damage(newer)
    with pytest.raises(CheckpointError, match=said):
        checkpoint.verify(newer)
    found, refused = checkpoint.newest(tmp_path)
    assert found == older
    assert len(refused) == 1
    assert said in refused[0]


def test_an_unfinished_save_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "step-000009.tmp").mkdir()
    assert checkpoint.newest(tmp_path) == (None, [])


def test_older_and_unfinished_ones_are_removed(tmp_path: Path) -> None:
    kept = checkpoint.publish(tmp_path / "step-000002", write_two).path
    checkpoint.publish(tmp_path / "step-000001", write_two)
    (tmp_path / "step-000003.tmp").mkdir()
    checkpoint.keep_only(tmp_path, kept)
    assert list(tmp_path.iterdir()) == [kept]


def test_moments_step_counts_and_random_numbers_come_back_exactly(tmp_path: Path) -> None:
    model, optimizer = trained()
    torch.manual_seed(5)
    checkpoint.write_training_state(tmp_path, model, optimizer, {"step": 1})
    expected = torch.rand(3)
    fresh = optim.build(model, lr=1e-3, weight_decay=0.0)
    checkpoint.restore(tmp_path, model, fresh)
    assert torch.equal(torch.rand(3), expected)
    for parameter, held in optimizer.state.items():
        assert held.keys() == fresh.state[parameter].keys()
        assert all(torch.equal(held[key], fresh.state[parameter][key]) for key in held)
    assert checkpoint.read_state(tmp_path) == {"step": 1}


def test_before_the_first_step_there_are_no_moments(tmp_path: Path) -> None:
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0)
    checkpoint.write_training_state(tmp_path, model, optimizer, {})
    checkpoint.restore(tmp_path, model, optimizer)
    assert not optimizer.state


def test_incomplete_moments_are_refused_by_name(tmp_path: Path) -> None:
    model, optimizer = trained()
    del optimizer.state[next(model.parameters())]["exp_avg_sq"]
    checkpoint.write_training_state(tmp_path, model, optimizer, {})
    with pytest.raises(CheckpointError, match=r"has only .*'exp_avg'.* of model.embed_tokens"):
        checkpoint.restore(tmp_path, model, optimizer)


def test_a_state_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps([1]))
    with pytest.raises(CheckpointError, match="not a JSON object"):
        checkpoint.read_state(tmp_path)

import os
import stat
from pathlib import Path

import pytest
import torch

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.errors import CheckpointError, SystemFailure
from nobody import as_nobody


def write_two(directory: Path) -> None:
    (directory / "a.bin").write_bytes(b"abc")
    (directory / "b.bin").write_bytes(b"defg")


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


def test_earlier_checkpoints_are_spoken_of_only_where_there_are_some(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(SystemFailure) as first:
        checkpoint.publish(tmp_path / "step-000001", fail)
    assert "intact" not in str(first.value)
    checkpoint.publish(tmp_path / "step-000001", write_two)
    with pytest.raises(SystemFailure, match="Earlier checkpoints are intact"):
        checkpoint.publish(tmp_path / "step-000002", fail)
    with pytest.raises(SystemFailure) as model:
        checkpoint.publish(tmp_path / "model", fail)
    assert "intact" not in str(model.value)


def test_what_is_not_private_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        write_two(directory)
        (directory / "b.bin").chmod(0o600)  # as safetensors writes

    before = os.umask(0o027)
    try:
        others = checkpoint.publish(tmp_path / "model", write, private=False).path
        mine = checkpoint.publish(tmp_path / "step-000001", write).path
    finally:
        os.umask(before)
    assert {path.name for path in others.iterdir()} == {"a.bin", "b.bin", "manifest.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in others.iterdir()} == {0o640}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (others, mine)] == [0o750, 0o700]
    checkpoint.verify(others)


def test_a_directory_without_permission_is_reported(shared: Path) -> None:
    shared.chmod(0o555)
    with as_nobody(), pytest.raises(SystemFailure, match="Permission denied"):
        checkpoint.publish(shared / "step-000001", write_two)


def test_a_file_is_whole_or_absent_where_the_disk_is_full(full_disk: int, tmp_path: Path) -> None:
    tensors = {"w": torch.zeros(full_disk // 4)}
    with pytest.raises(SystemFailure, match=r"w\.safetensors could not be written .* are free th"):
        checkpoint.write_tensors(tensors, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []
    checkpoint.write_tensors({"w": tensors["w"][:9]}, tmp_path / "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


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


def test_damaged_ones_are_set_aside_and_then_neither_read_nor_removed(tmp_path: Path) -> None:
    paths = [checkpoint.publish(tmp_path / f"step-00000{n}", write_two).path for n in (1, 2, 3)]
    moved = checkpoint.set_aside(tmp_path, paths[0])
    assert [path.name for path in moved] == ["step-000002.damaged", "step-000003.damaged"]
    assert checkpoint.finished(tmp_path) == paths[:1]
    assert checkpoint.set_aside(tmp_path, paths[0]) == []
    assert [path.name for path in checkpoint.set_aside(tmp_path, None)] == ["step-000001.damaged"]
    checkpoint.remove_all_except(tmp_path, [])
    assert len(list(tmp_path.iterdir())) == 3
    checkpoint.verify(moved[0])


def test_an_unfinished_save_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "step-000009.tmp").mkdir()
    assert checkpoint.newest(tmp_path) == (None, [])


def test_older_and_unfinished_ones_are_removed(tmp_path: Path) -> None:
    kept = checkpoint.publish(tmp_path / "step-000002", write_two).path
    checkpoint.publish(tmp_path / "step-000001", write_two)
    (tmp_path / "step-000003.tmp").mkdir()
    checkpoint.remove_all_except(tmp_path, [kept])
    assert list(tmp_path.iterdir()) == [kept]


def test_they_are_ordered_by_number_beyond_six_digits(tmp_path: Path) -> None:
    steps = (999_999, 1_000_000, 10_000_000)
    saved = [checkpoint.publish(checkpoint.step_dir(tmp_path, n), write_two).path for n in steps]
    assert checkpoint.finished(tmp_path) == saved
    assert checkpoint.newest(tmp_path) == (saved[-1], [])
    assert [checkpoint.step_of(path) for path in saved] == list(steps)


def test_one_that_was_being_replaced_stands_before_what_replaces_it(tmp_path: Path) -> None:
    for name in ("step-000002", "step-000002.old", "step-000001.old"):
        checkpoint.publish(tmp_path / name, write_two)
    names = [path.name for path in checkpoint.finished(tmp_path)]
    assert names == ["step-000001.old", "step-000002.old", "step-000002"]
    assert [checkpoint.step_of(tmp_path / name) for name in names] == [1, 2, 2]


def test_what_no_run_wrote_is_neither_read_nor_removed(tmp_path: Path) -> None:
    mine = checkpoint.publish(tmp_path / "step-before-the-crash", write_two).path
    assert checkpoint.finished(tmp_path) == []
    checkpoint.remove_all_except(tmp_path, [])
    assert mine.is_dir()


def test_a_file_that_was_not_saved_there_is_refused_by_name(tmp_path: Path) -> None:
    saved = checkpoint.publish(tmp_path / "step-000001", write_two).path
    (saved / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is not in manifest\.json"):
        checkpoint.verify(saved)


def test_two_files_that_changed_places_are_refused_by_name(tmp_path: Path) -> None:
    def two_alike(directory: Path) -> None:
        (directory / "a.bin").write_bytes(b"abc")
        (directory / "b.bin").write_bytes(b"xyz")

    saved = checkpoint.publish(tmp_path / "step-000001", two_alike).path
    (saved / "a.bin").rename(saved / "c.bin")
    (saved / "b.bin").rename(saved / "a.bin")
    (saved / "c.bin").rename(saved / "b.bin")
    with pytest.raises(CheckpointError, match=r"a\.bin is not the file that was saved"):
        checkpoint.verify(saved)


def test_a_manifest_may_not_point_outside(tmp_path: Path) -> None:
    saved = checkpoint.publish(tmp_path / "step-000001", write_two).path
    text = (saved / "manifest.json").read_text().replace("a.bin", "../a.bin")
    (saved / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="names them wrongly"):
        checkpoint.verify(saved)


def test_a_checkpoint_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    checkpoint.publish(tmp_path / "step-000001", write_two)
    saved = checkpoint.publish(
        tmp_path / "step-000001", lambda directory: (directory / "c.bin").touch()
    )
    checkpoint.verify(saved.path)
    assert {path.name for path in saved.path.iterdir()} == {"c.bin", "manifest.json"}
    assert list(tmp_path.iterdir()) == [saved.path]


def test_a_directory_that_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("all of it")
    with pytest.raises(SystemFailure, match="was not written by a run: move it away"):
        checkpoint.publish(tmp_path / "model", write_two)
    assert (tmp_path / "model" / "thesis.txt").read_text() == "all of it"


def test_folders_inside_are_kept(tmp_path: Path) -> None:
    def nested(directory: Path) -> None:
        (directory / "inner").mkdir()
        write_two(directory / "inner")

    saved = checkpoint.publish(tmp_path / "step-000001", nested)
    checkpoint.verify(saved.path)
    (saved.path / "inner" / "b.bin").unlink()
    with pytest.raises(CheckpointError, match=r"inner/b\.bin is missing"):
        checkpoint.verify(saved.path)


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    vast = torch.nn.Linear(1 << 24, 1 << 24, bias=False, device="meta")
    with pytest.raises(SystemFailure, match=r"hf needs 512 TiB for its weights, and .* are free"):
        checkpoint.check_room(tmp_path / "export" / "hf", vast, torch.bfloat16)
    checkpoint.check_room(tmp_path / "hf", torch.nn.Linear(2, 2))

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpu_runner import atomic
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint.sharded_directory import ShardedDirectory
from gpu_runner.errors import CheckpointError, SystemFailure
from gpu_runner.world import World


def write_two(directory: Path) -> None:
    (directory / "a.bin").write_bytes(b"abc")
    (directory / "b.bin").write_bytes(b"defg")


def test_earlier_checkpoints_are_spoken_of_only_where_there_are_some(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    def failure(name: str) -> str:
        one = ShardedDirectory(tmp_path / name, World())
        one.begin()
        with pytest.raises(SystemFailure, match="No space left on device") as found:
            one.end(full)
        return str(found.value)

    assert "intact" not in failure("step-000001")
    atomic.publish(tmp_path / "step-000001", write_two)
    assert failure("step-000002").endswith("Earlier checkpoints are intact.")
    assert "intact" not in failure("model")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


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
    older = atomic.publish(tmp_path / "step-000001", write_two).path
    newer = atomic.publish(tmp_path / "step-000002", write_two).path
    assert callable(damage)
    damage(newer)
    with pytest.raises(CheckpointError, match=said):
        atomic.verify(newer)
    found, refused = checkpoint.newest(tmp_path)
    assert found == older
    assert len(refused) == 1
    assert said in refused[0]


def test_damaged_ones_are_set_aside_and_then_neither_read_nor_removed(tmp_path: Path) -> None:
    paths = [atomic.publish(tmp_path / f"step-00000{n}", write_two).path for n in (1, 2, 3)]
    moved = checkpoint.set_aside(tmp_path, paths[0])
    assert [path.name for path in moved] == ["step-000002.damaged", "step-000003.damaged"]
    assert checkpoint.finished(tmp_path) == paths[:1]
    assert checkpoint.set_aside(tmp_path, paths[0]) == []
    assert [path.name for path in checkpoint.set_aside(tmp_path, None)] == ["step-000001.damaged"]
    checkpoint.remove_all_except(tmp_path, [])
    assert len(list(tmp_path.iterdir())) == 3
    atomic.verify(moved[0])
    atomic.publish(paths[1], write_two)
    assert checkpoint.set_aside(tmp_path, None)[0].name == "step-000002.damaged-2"
    atomic.verify(moved[0])


def test_older_ones_are_removed_as_they_were_written(tmp_path: Path) -> None:
    kept, changed, _ = (
        atomic.publish(tmp_path / f"step-00000{step}", write_two).path for step in (3, 2, 1)
    )
    (changed / "notes.txt").write_text("why it diverged")
    checkpoint.remove_all_except(tmp_path, [kept])
    assert sorted(tmp_path.iterdir()) == [changed, kept]
    assert (changed / "notes.txt").read_text() == "why it diverged"


def test_they_are_ordered_by_number_beyond_six_digits(tmp_path: Path) -> None:
    steps = (999_999, 1_000_000, 10_000_000)
    saved = [atomic.publish(checkpoint.step_dir(tmp_path, n), write_two).path for n in steps]
    assert checkpoint.finished(tmp_path) == saved
    assert checkpoint.newest(tmp_path) == (saved[-1], [])
    assert [checkpoint.step_of(path) for path in saved] == list(steps)


def test_what_no_run_wrote_is_neither_read_nor_removed(tmp_path: Path) -> None:
    mine = atomic.publish(tmp_path / "step-before-the-crash", write_two).path
    assert checkpoint.finished(tmp_path) == []
    checkpoint.remove_all_except(tmp_path, [])
    assert mine.is_dir()


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path: Path) -> None:
    vast = torch.nn.Linear(1 << 24, 1 << 24, bias=False, device="meta")
    with pytest.raises(SystemFailure, match=r"hf needs 512 TiB for its weights, and .* are free"):
        checkpoint.check_room(tmp_path / "export" / "hf", vast, torch.bfloat16)
    checkpoint.check_room(tmp_path / "hf", torch.nn.Linear(2, 2))


FOREVER = """
from pathlib import Path
from gpu_runner.checkpoint.directory import time_writing
print("begins", flush=True)
while True:
    time_writing(Path("{}"), 1_000_000)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_times_the_disk_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FOREVER.format(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begins\n"
        time.sleep(0.05)
        process.kill()
    assert not [*tmp_path.iterdir()]


def test_a_folder_that_nothing_can_be_written_in_is_named(full_disk: int, tmp_path: Path) -> None:
    with pytest.raises(SystemFailure, match=r"checkpoints could not be written .* Make room"):
        checkpoint.time_writing(tmp_path, 2 * full_disk)
    seconds = checkpoint.time_writing(tmp_path, full_disk // 4)
    assert seconds > 0

"""Rows of tensors in several files, read as of one; and by PyTorch's own reader."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpu_runner.checkpoint.origins import fingerprint
from gpu_runner.errors import CheckpointError
from gpu_runner.world.sharded_files import PLACES, Shard, StoredTensors, file_name, write

WHOLE = {
    "matrix": torch.arange(35.0).view(7, 5),
    "narrow": torch.arange(12).view(4, 3).to(torch.bfloat16),
    "vector": torch.arange(5, dtype=torch.int64),
    "stack": torch.rand(5, 2, 3),
    "scalar": torch.tensor(3.5),
    "bytes": torch.arange(9, dtype=torch.uint8),
}


ALONE = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")


def cut(folder: Path, parts: int, whole: dict[str, Tensor] = WHOLE) -> list[Path]:
    """As so many processes would write it: rows as `torch.chunk` gives them, the last fewer."""
    folder.mkdir()
    files = []
    for part in range(parts):
        shards = {}
        for name, tensor in whole.items():
            if tensor.ndim:
                each = -(-tensor.shape[0] // parts)
                rows = tensor[part * each : (part + 1) * each]
                if rows.numel():
                    shards[name] = Shard(rows, part * each)
            elif part == 0:
                shards[name] = Shard(tensor)
        files.append(folder / file_name(part, parts))
        write(files[-1], shards, {"held": "{}"})
    return files


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_rows_are_those_of_the_whole_however_many_wrote_them(parts: int, tmp_path: Path) -> None:
    stored = StoredTensors(cut(tmp_path / "shards", parts))
    assert set(stored.names()) == WHOLE.keys()
    with stored.reading() as reader:
        for name, tensor in WHOLE.items():
            assert stored.shape(name) == tuple(tensor.shape)
            assert stored.dtype(name) == tensor.dtype
            assert torch.equal(reader.rows(name), tensor)
            for start in range(tensor.shape[0] + 1 if tensor.ndim else 0):
                for stop in range(start, tensor.shape[0] + 1):
                    assert torch.equal(reader.rows(name, slice(start, stop)), tensor[start:stop])


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    stored = StoredTensors(cut(tmp_path / "shards", 3))
    with stored.reading() as reader:
        reader.rows("matrix", slice(2, 4))
        assert stored.bytes_read == 2 * 5 * 4
        reader.rows("matrix", slice(7, 7))
        assert stored.bytes_read == 2 * 5 * 4


def test_a_whole_file_is_read_as_shards_are(tmp_path: Path) -> None:
    save_file(WHOLE, tmp_path / "model.safetensors")
    with StoredTensors([tmp_path / "model.safetensors"]).reading() as reader:
        assert torch.equal(reader.rows("stack", slice(1, 3)), WHOLE["stack"][1:3])


def test_of_a_whole_tensor_in_two_files_the_last_counts(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        save_file({"x": torch.full((2,), value)}, tmp_path / f"{name}.safetensors")
    with StoredTensors(tmp_path.iterdir()).reading() as reader:
        assert reader.rows("x").tolist() == [2.0, 2.0]


def test_rows_that_nobody_wrote_are_missed(tmp_path: Path) -> None:
    files = cut(tmp_path / "shards", 3)
    with (
        StoredTensors([files[0], files[2]]).reading() as reader,
        pytest.raises(CheckpointError, match=r"has no row 3 of matrix"),
    ):
        reader.rows("matrix")


@pytest.mark.parametrize(
    "places",
    ["[", "[]", "7", '{"x": {}}', '{"x": {"saved_offsets": [-1, 0]}}',
     '{"x": {"saved_offsets": [0, 3]}}', '{"x": {"saved_offsets": "ab"}}'],
)  # fmt: skip
def test_places_without_sense_are_refused(places: str, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(2, 4)}, file, {PLACES: places})
    with pytest.raises(CheckpointError, match="no readable places of its rows"):
        StoredTensors([file])


def test_what_is_reported_of_a_file_is_true_of_it(tmp_path: Path) -> None:
    file = tmp_path / "one.safetensors"
    told = write(file, {name: Shard(tensor) for name, tensor in WHOLE.items()}, {"a": "b"})
    assert told.size_bytes == file.stat().st_size
    assert told.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert all(torch.equal(tensor, WHOLE[name]) for name, tensor in load_file(file).items())


def test_what_is_not_contiguous_is_written_as_it_is_seen(tmp_path: Path) -> None:
    seen = torch.arange(6.0).view(2, 3).T
    write(tmp_path / "x.safetensors", {"x": Shard(seen)}, {})
    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], seen)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_fingerprint_of_shards_is_that_of_the_whole(parts: int, tmp_path: Path) -> None:
    save_file(WHOLE, tmp_path / "model.safetensors")
    expected = fingerprint([tmp_path / "model.safetensors"])
    assert fingerprint(cut(tmp_path / "shards", parts)) == expected


@ALONE
@pytest.mark.parametrize("parts", [1, 3])
def test_the_reader_of_torch_distributed_checkpoint_reads_them(parts: int, tmp_path: Path) -> None:
    cut(tmp_path / "shards", parts)
    empty = {name: torch.zeros_like(tensor) for name, tensor in WHOLE.items()}
    dcp.load(
        empty,
        storage_reader=dcp.HuggingFaceStorageReader(str(tmp_path / "shards")),
        no_dist=True,
    )
    assert all(torch.equal(tensor, WHOLE[name]) for name, tensor in empty.items())


@ALONE
def test_what_torch_distributed_checkpoint_writes_is_read(tmp_path: Path) -> None:
    writer = dcp.HuggingFaceStorageWriter(str(tmp_path), save_distributed=True)
    dcp.save(dict(WHOLE), storage_writer=writer, no_dist=True)
    with StoredTensors(tmp_path.glob("*.safetensors")).reading() as reader:
        assert all(torch.equal(reader.rows(name), tensor) for name, tensor in WHOLE.items())


def test_nothing_in_a_shard_is_anything_but_json_and_numbers(tmp_path: Path) -> None:
    (file,) = cut(tmp_path / "shards", 1)
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert (8 + length) % 8 == 0
    sizes = sum(tensor.nbytes for tensor in WHOLE.values())
    assert len(raw) == 8 + length + sizes
    assert header.pop("__metadata__").keys() == {PLACES, "held"}
    assert header.keys() == WHOLE.keys()

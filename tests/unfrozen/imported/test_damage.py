"""Damaged files: cut at every byte, bits flipped. A log or one sentence, never a traceback."""

import json
import random
from collections.abc import Iterator

import pytest

import foreign_runs
from imported_logs import events, reading_bytes
from unfrozen.errors import ForeignFileError
from unfrozen.imported.foreign_files import ForeignFiles

STATE = {
    "log_history": [
        {"step": n, "loss": 2.0 / n, "grad_norm": 1.0, "eval_loss": 3.0 / n, "odd": n}
        for n in range(1, 9)
    ],
    "global_step": 8,
    "max_steps": 8,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = foreign_runs.event_file(
        tmp_path_factory.mktemp("events"), [{"train/loss": n, "odd": 1 / n} for n in range(1, 9)]
    )
    (file,) = folder.iterdir()
    return {"trainer": json.dumps(STATE).encode(), "tensorboard": file.read_bytes()}


def read(data: bytes) -> str:
    """What became of a file: how many events, or why it was refused."""
    try:
        return f"{len(events(reading_bytes(data)))} events"
    except ForeignFileError as error:
        text = str(error)
        assert len(text) < 3000
        assert "\n" not in text
        assert "; " in text
        return text


def flipped(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 1, 2, 5])):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        yield bytes(damaged)


@pytest.mark.parametrize("tool", ["trainer", "tensorboard"])
def test_a_file_cut_at_any_byte_gives_a_log_or_a_sentence(
    whole: dict[str, bytes], tool: str, share: int
) -> None:
    data = whole[tool]
    found = [read(data[:size]) for size in (*range(0, len(data), share), len(data))]
    assert found[-1].endswith("events")
    assert any("at byte" in text for text in found)


@pytest.mark.parametrize("tool", ["trainer", "tensorboard"])
def test_flipped_bits_give_a_log_or_a_sentence(
    whole: dict[str, bytes], tool: str, share: int
) -> None:
    for data in flipped(whole[tool], 400 // share, seed=7):
        read(data)


@pytest.mark.parametrize("start", [b"{", b""])
def test_noise_is_refused_or_read_and_never_breaks(start: bytes) -> None:
    chance = random.Random(5)
    for _ in range(200):
        read(start + chance.randbytes(chance.randrange(3000)))


def test_a_file_comes_in_pieces_of_any_size(whole: dict[str, bytes]) -> None:
    for data in whole.values():
        wanted = read(data)
        for piece in (1, 5, 16, 17, 4096):
            found = ForeignFiles()
            found.begin("file")
            for at in range(0, len(data), piece):
                found.feed(data[at : at + piece])
            found.end()
            assert f"{len(events(found.run()))} events" == wanted

"""Damaged files: cut at every byte, bits flipped. A log or one sentence, never a traceback."""

import json
import random
from collections.abc import Iterator

import pytest

from imported_logs import events, reading_bytes
from unfrozen.errors import ForeignFileError

STATE = {
    "log_history": [
        {"step": n, "loss": 2.0 / n, "grad_norm": 1.0, "eval_loss": 3.0 / n, "odd": n}
        for n in range(1, 9)
    ],
    "global_step": 8,
    "max_steps": 8,
}


WHOLE = json.dumps(STATE).encode()


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


def test_a_file_cut_at_any_byte_gives_a_log_or_a_sentence(share: int) -> None:
    found = [read(WHOLE[:size]) for size in (*range(0, len(WHOLE), share), len(WHOLE))]
    assert found[-1].endswith("events")
    assert any("at byte" in text for text in found)


def test_flipped_bits_give_a_log_or_a_sentence(share: int) -> None:
    for data in flipped(WHOLE, 400 // share, seed=7):
        read(data)


@pytest.mark.parametrize("start", [b"{", b""])
def test_noise_is_refused_or_read_and_never_breaks(start: bytes) -> None:
    chance = random.Random(5)
    for _ in range(200):
        read(start + chance.randbytes(chance.randrange(3000)))

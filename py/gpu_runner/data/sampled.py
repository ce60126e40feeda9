"""Rows that θ₀ has written itself, for replay: as tokens, in the directory of a run."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Final

from gpu_runner.config.bounds import NO_PROMPTS, OWN_PROMPTS
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example, InMemoryExamples, fingerprint
from gpu_runner.errors import DataError
from unfrozen.plain import MOST_NAMED_BYTES, read_whole
from unfrozen.schema.check import read as read_json

MOST_ROWS: Final = 2048
LONGEST: Final = 256
"""Tokens of a row."""
_MOST_LINE_BYTES: Final = 1 << 20


def prompts_of(config: TrainConfig, encoder: Encoder) -> str | None:
    """Return what θ₀ answers: a file, or "data", which is the choice for a chat model; or None."""
    chosen = config.replay_prompts or (OWN_PROMPTS if encoder.has_template else NO_PROMPTS)
    return None if chosen == NO_PROMPTS else chosen


def expected(train: EncodedDataset, config: TrainConfig) -> EncodedDataset:
    """Return rows in place of those that are not written yet: as many, and the longest.

    So many that they have the run's share of the tokens of an epoch, at most MOST_ROWS, which are
    then repeated.
    """
    longest = max(2, min(config.seq_len, LONGEST))
    wanted = train.tokens * config.replay_share / (1 - config.replay_share)
    count = min(MOST_ROWS, max(1, math.ceil(wanted / longest)))
    example = Example((0,) * longest, (False, *[True] * (longest - 1)))
    return _dataset([{"text": ""}] * count, [example] * count, ["not written yet"] * count, "")


def read(file: Path) -> EncodedDataset:
    """Return the rows of a file. Raises `DataError` for one that θ₀ has not written."""
    try:
        data = read_whole(file, MOST_NAMED_BYTES, links=True)
    except OSError as error:
        raise DataError(f"--replay {file}: it cannot be read ({error.strerror}).") from None
    rows, examples, places = [], [], []
    for number, line in enumerate(data.splitlines(), 1):
        found = read_json(line, _MOST_LINE_BYTES, "a row").value
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, list) or len(tokens) < 2 or not all(map(_is_token, tokens)):
            raise DataError(
                f"{file}, line {number}: it has no tokens that a model wrote: start a new run."
            )
        asked = found.get("asked", 1)
        if not _is_token(asked) or not 0 < asked < len(tokens):
            raise DataError(f"{file}, line {number}: its prompt is no part of it: start a new run.")
        rows.append({"text": str(found.get("text", ""))})
        trained = (*[False] * asked, *[True] * (len(tokens) - asked))
        examples.append(Example(tuple(tokens), trained))
        places.append(f"{file.name}, line {number}")
    if not rows:
        raise DataError(f"{file} has no rows: start a new run.")
    return _dataset(rows, examples, places, hashlib.sha256(data).hexdigest())


def _is_token(token: object) -> bool:
    return type(token) is int and 0 <= token < 1 << 31


def _dataset(
    rows: list[dict[str, str]], examples: list[Example], places: list[str], sha256: str
) -> EncodedDataset:
    stored = InMemoryExamples(examples)
    return EncodedDataset(
        name="replay",
        rows=tuple(rows),
        examples=stored,
        rows_read=len(rows),
        cut_rows=0,
        cut_tokens=0,
        untrainable_rows=0,
        sha256=sha256 or fingerprint(stored),
        places=tuple(places),
    )

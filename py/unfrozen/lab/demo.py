"""The demo model and its data, read from the bytes of its files: fetched by the page, or on disk.

A row of data becomes token ids with a mask of what is trained, without a chat template:

    {prompt}[{completion}<|end|>]      trained in brackets

Weights come from a safetensors file: eight bytes of length, a JSON header, and the numbers
(https://github.com/huggingface/safetensors), in fp32, fp16 or bf16; they become fp32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unfrozen.errors import PlanError
from unfrozen.lab.llama import Documents, Llama, Weights
from unfrozen.lab.tokenizer import Tokenizer
from unfrozen.model import ModelConfig

TASK: Final = "task"
GENERAL: Final = "general"
SKILLS: Final = ("addition", "reversal", "capitals", "tenses")
FILES: Final = (
    "model/config.json",
    "model/model.safetensors",
    "model/tokenizer.json",
    "data/task_train.jsonl",
    "data/task_eval.jsonl",
    *(f"data/general_{skill}.jsonl" for skill in SKILLS),
    "data/earlier.jsonl",
)
SAMPLED_ROWS: Final = 2
"""Held-out rows of each set whose prompts are continued before and after a fine-tune."""
END: Final = 0
"""The place of the token that closes a text among the tokenizer's special ones."""


class EncodedRow(NamedTuple):
    """One encoded row: `ids` (T,), and of each whether it is learned."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    prompt: str
    completion: str

    @property
    def trained_tokens(self) -> int:
        """How many predictions of this row enter the loss; its first token has none."""
        return sum(self.trained)


def read_rows(text: str, tokenizer: Tokenizer) -> tuple[EncodedRow, ...]:
    """Return the rows of a JSONL text. Raises PlanError with the line of an invalid one."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            found.append(encode_row(str(row["prompt"]), str(row["completion"]), tokenizer))
        except (ValueError, KeyError, TypeError):
            bound = 'a row is {"prompt": …, "completion": …}'
            raise PlanError(f"line {number}", line, bound, "correct it") from None
    return tuple(found)


def encode_row(prompt: str, completion: str, tokenizer: Tokenizer) -> EncodedRow:
    """Return one row. A token is learned if it begins inside the completion or is the end."""
    end = list(tokenizer.special)[END]
    tokens = tokenizer.encode(prompt + completion + end)
    learned = tuple(place > 0 and t.start >= len(prompt) for place, t in enumerate(tokens))
    return EncodedRow(tuple(t.id for t in tokens), learned, prompt, completion)


def documents(rows: Sequence[EncodedRow]) -> Documents:
    """Return these rows as the documents of one packed step."""
    return Documents.of([row.ids for row in rows], [row.trained for row in rows])


_HEADER_LIMIT: Final = 100_000_000  # the format's own
_WIDTHS: Final = {"F32": 4, "F16": 2, "BF16": 2}


def read_tensors(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Return every tensor by name, each a separate array. Raises PlanError for a damaged file."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= min(_HEADER_LIMIT, len(data) - 8):
        raise _damaged(f"{len(data):,} bytes with a header of {size:,}")
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        raise _damaged("a header that is not JSON") from None
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size :]
    return {name: _tensor(name, entry, body) for name, entry in header.items()}


def _tensor(name: str, entry: dict[str, Any], body: memoryview) -> NDArray[np.float32]:
    kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _WIDTHS:
        bound = f"its numbers must be one of {', '.join(_WIDTHS)}"
        raise PlanError(f"safetensors.{name}", kind, bound, "convert the file")
    if not 0 <= start <= end <= len(body) or end - start != math.prod(shape) * _WIDTHS[kind]:
        raise _damaged(f"{len(body):,} bytes, where {name} should lie at {start:,} … {end:,}")
    raw = body[start:end]
    if kind == "F32":
        return np.frombuffer(raw, "<f4").reshape(shape).copy()
    if kind == "F16":
        return np.frombuffer(raw, "<f2").reshape(shape).astype(np.float32)
    wide = np.frombuffer(raw, "<u2").astype(np.uint32) << 16  # a bf16 is the upper half of an fp32
    return wide.view(np.float32).reshape(shape)


def _damaged(found: str) -> PlanError:
    return PlanError("safetensors", found, "it must be a whole file", "fetch it again")


@dataclass(frozen=True)
class Demo:
    """What a fine-tune starts from."""

    config: ModelConfig
    model: Llama
    start: Weights
    """θ₀."""
    tokenizer: Tokenizer
    train: tuple[EncodedRow, ...]
    suites: Mapping[str, tuple[EncodedRow, ...]]
    """Held-out rows: `task`, and `general/<skill>` of what the model knew."""
    earlier: tuple[EncodedRow, ...]
    """Rows like those of pre-training, none of them held out: for replay and the Fisher."""

    def sampled_rows(self, seed: int) -> list[EncodedRow]:
        """Return SAMPLED_ROWS held-out rows of each set, drawn at random by `seed`."""
        return [
            row
            for suite, rows in self.suites.items()
            for row in Random(f"{suite} {seed}").sample(rows, SAMPLED_ROWS)
        ]

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> Demo:
        """Return the demo from the bytes of FILES. Raises PlanError or ModelError if damaged."""
        given = json.loads(files["model/config.json"])
        config = ModelConfig.from_hf(given)
        tokenizer = Tokenizer.read(json.loads(files["model/tokenizer.json"]))

        def of(name: str) -> tuple[EncodedRow, ...]:
            return read_rows(files[f"data/{name}.jsonl"].decode(), tokenizer)

        skills = {f"{GENERAL}/{skill}": of(f"general_{skill}") for skill in SKILLS}
        theta = float(given["rope_parameters"]["rope_theta"])
        return cls(
            config=config,
            model=Llama(config.architecture, theta, float(given["rms_norm_eps"])),
            start=read_tensors(files["model/model.safetensors"]),
            tokenizer=tokenizer,
            train=of("task_train"),
            suites={TASK: of("task_eval")} | skills,
            earlier=of("earlier"),
        )

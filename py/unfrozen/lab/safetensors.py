"""Tensors out of a safetensors file: eight bytes of length, a JSON header, and the numbers.

The format is described at https://github.com/huggingface/safetensors. Here fp32, fp16 and bf16 are
read, all of them as fp32, which holds each exactly.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from unfrozen.errors import PlanError

_HEADER_LIMIT: Final = 100_000_000  # the format's own
_WIDTHS: Final = {"F32": 4, "F16": 2, "BF16": 2}


def read(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Every tensor by name, each an array of its own. Raises PlanError for a damaged file."""
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
        raise _damaged(f"{len(body):,} bytes, where {name} is said to lie at {start:,} … {end:,}")
    raw = body[start:end]
    if kind == "F32":
        return np.frombuffer(raw, "<f4").reshape(shape).copy()
    if kind == "F16":
        return np.frombuffer(raw, "<f2").reshape(shape).astype(np.float32)
    wide = np.frombuffer(raw, "<u2").astype(np.uint32) << 16  # a bf16 is the upper half of an fp32
    return wide.view(np.float32).reshape(shape)


def _damaged(found: str) -> PlanError:
    return PlanError("safetensors", found, "it must be a whole file", "fetch it again")

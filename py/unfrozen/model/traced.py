"""The tensors of a family outside the table, where something is at hand that builds its model: the
core builds none, and who asks for a plan says what does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from unfrozen.model.blueprint import Tensor

Model = tuple[str, dict[str, Any], list[Tensor]]
"""The version of transformers that builds it, its configuration with all keys, its tensors."""
Build = Callable[[Mapping[str, Any]], Model]
GUESSED = "unknown"
"""The type of a model whose name is all that is known: no library builds it."""
_build: ContextVar[Build | None] = ContextVar("build", default=None)


class NotTraced(Exception):
    """Why a model was not built, as the end of a sentence; empty where nothing builds models."""


@contextmanager
def built_by(build: Build) -> Iterator[None]:
    """Build models by `build` inside the block."""
    token = _build.set(build)
    try:
        yield
    finally:
        _build.reset(token)


def trace(config: Mapping[str, Any]) -> Model:
    """Return the model of a config.json. Raises `NotTraced`."""
    if (build := _build.get()) is None or config.get("model_type") == GUESSED:
        raise NotTraced
    return build(config)

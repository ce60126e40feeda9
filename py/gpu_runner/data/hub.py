"""Sets of the Hugging Face hub, and whether there is a way to it."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from gpu_runner.config.source import RowSource
from gpu_runner.errors import DataError

_FILES: Final = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".gz", ".txt")


def is_away() -> bool:
    """Whether the hub has no address here; then what is cached is taken at once, or nothing.

    Its client would ask six times, with pauses. Behind a proxy nothing can be told from here.
    """
    from transformers.utils.hub import constants  # type: ignore[attr-defined]  # the hub's own

    if constants.HF_HUB_OFFLINE:
        return True
    if getproxies():
        return False
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"  # for what is imported later
        constants.HF_HUB_OFFLINE = True  # for what is imported already
        return True
    return False


def loaded(wanted: RowSource) -> Any:
    """A data set of the hub, which its library maps from disk. Raises `DataError`."""
    source = wanted.place
    looks_like_file = Path(source).suffix in _FILES or source.startswith((".", "/", "~"))
    try:
        if looks_like_file:
            raise ImportError
        away = is_away()  # first: what is imported next looks at the environment
        import datasets  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        hint = (
            "check the path"
            if looks_like_file
            else "check the path; if it is a Hugging Face data set id, first `pip install datasets`"
        )
        raise DataError(f"{source}: there is no such file; {hint}.") from None
    try:
        return _loaded(datasets, source, wanted.subset, wanted.split)
    except Exception as error:  # the hub, the network, or the data set's own script
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if away:
            reason = "the Hugging Face hub cannot be reached, and it is not in the cache"
        raise DataError(
            f"{source}: neither a file nor a data set that can be loaded ({reason.rstrip('.')})."
            f" A subset and a split are named like {source}:SUBSET,split=train."
        ) from error


@lru_cache(maxsize=16)
def _loaded(library: ModuleType, source: str, subset: str | None, split: str) -> Any:
    """Asked for once in a process: to look how large a set is, and for its rows."""
    return library.load_dataset(source, subset, split=split)


def size_bytes(found: Any) -> int:
    """Bytes of the rows of a set, as far as its library tells."""
    return int(getattr(getattr(found, "data", None), "nbytes", 0))


def fingerprint(found: Any) -> str:
    """What its library calls the rows of a set, of one revision and split; "" if nothing."""
    return str(getattr(found, "_fingerprint", None) or "")

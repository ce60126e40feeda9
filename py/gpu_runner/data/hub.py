"""Data sets of the Hugging Face hub, and whether it can be reached."""

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
    """Return whether the hub has no address here; then the client reads its cache or fails.

    It would try six times otherwise, with pauses. Behind a proxy the answer is always False.
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


def load(wanted: RowSource) -> Any:
    """Return a data set of the hub, which `datasets` maps from disk. Raises `DataError`."""
    source = wanted.place
    looks_like_file = Path(source).suffix in _FILES or source.startswith((".", "/", "~"))
    try:
        if looks_like_file:
            raise ImportError
        away = is_away()  # first: `datasets` reads the environment when it is imported
        import datasets  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        hint = (
            "check the path"
            if looks_like_file
            else "check the path; if it is a Hugging Face data set id, first `pip install datasets`"
        )
        raise DataError(f"{source}: there is no such file; {hint}.") from None
    try:
        return _load(datasets, source, wanted.subset, wanted.split)
    except Exception as error:  # the hub, the network, or the data set's own script
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if away:
            reason = "the Hugging Face hub cannot be reached, and it is not in the cache"
        raise DataError(
            f"{source}: neither a file nor a data set that can be loaded ({reason.rstrip('.')})."
            f" A subset and a split are named like {source}:SUBSET,split=train."
        ) from error


@lru_cache(maxsize=16)
def _load(library: ModuleType, source: str, subset: str | None, split: str) -> Any:
    """Load a data set once in a process, for its size and for its rows."""
    return library.load_dataset(source, subset, split=split)


def size_bytes(dataset: Any) -> int:
    """Return the bytes of a data set's rows; 0 where `datasets` does not say."""
    return int(getattr(getattr(dataset, "data", None), "nbytes", 0))


def fingerprint(dataset: Any) -> str:
    """Return the name that `datasets` gives the rows of one revision and split; "" if none."""
    return str(getattr(dataset, "_fingerprint", None) or "")

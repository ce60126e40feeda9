"""A store of encoded rows that takes small files for large ones, and rows of every kind for it."""

import os
from pathlib import Path
from typing import Any

import pytest

import chat_corpus
import tiny_llama
from gpu_runner.data import cache
from gpu_runner.data.encode import Encoder

ROWS: list[dict[str, Any]] = [
    *tiny_llama.sums(40),
    {"prompt": "1" * 90, "completion": "cut away"},
    {"prompt": "x", "completion": "", "meta": 1},
    *(chat_corpus.CHATS["thinking"] for _ in range(3)),
]


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one test's own, one process, files that are large from 1 KB on; its rows."""
    monkeypatch.setenv(cache.CACHE_ENV, str(folder / "cache"))
    monkeypatch.setattr(cache, "LEAST_BYTES", 1_000)
    monkeypatch.setattr(cache, "_AT_ONCE", 7)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    return folder / "cache" / "rows"


def encoder(seq_len: int = 60) -> Encoder:
    """Of the chat template that answers with and without a thought."""
    return Encoder(chat_corpus.tokenizer(chat_corpus.source("hybrid")), seq_len)


def folders(store: Path) -> list[Path]:
    """What lies in it; nothing where nothing was kept."""
    return [path for path in store.iterdir() if path.is_dir()] if store.exists() else []

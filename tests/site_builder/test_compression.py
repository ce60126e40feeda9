"""Files that gzip makes smaller have compressed twins; a host sends the bytes of one of them."""

import gzip
import os
from pathlib import Path

import brotli

from site_builder.compression import (
    GZIP_MAX_RATIO,
    GZIP_MIN_BYTES,
    compress,
    transferred_bytes,
)


def test_only_files_that_shrink_have_compressed_twins(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    files = {
        "index.html": b"<p>again and again</p>" * 500,
        "assets/main.js": b"let x = 1;" * 500,
        "assets/font.woff2": os.urandom(5000),
        "small.json": b"1" * (GZIP_MIN_BYTES - 1),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    compress(tmp_path)
    sent = [tmp_path / f"{name}.br" for name in files]
    sent = [path if path.exists() else path.with_suffix("") for path in sent]
    assert transferred_bytes(files.values()) == sum(path.stat().st_size for path in sent)
    first = {path.name: path.read_bytes() for path in tmp_path.rglob("*.gz")}
    assert first.keys() == {"index.html.gz", "main.js.gz"}
    for name, packed in first.items():
        (path,) = tmp_path.rglob(name)
        data = path.with_suffix("").read_bytes()
        assert gzip.decompress(packed) == data
        assert len(packed) <= GZIP_MAX_RATIO * len(data)
        smallest = path.with_suffix(".br").read_bytes()
        assert brotli.decompress(smallest) == data
        assert len(smallest) < len(packed)
    names = {path.name for path in tmp_path.rglob("*")}
    compress(tmp_path)  # twins have no twin of their own, and no date
    assert {path.name for path in tmp_path.rglob("*")} == names
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.gz")} == first

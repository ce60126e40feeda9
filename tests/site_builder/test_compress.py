"""What lies compressed beside the site, and what does not."""

import gzip
import os
from pathlib import Path

from site_builder.page import LEAST_BYTES, MOST_RATIO, compress


def test_what_shrinks_lies_there_in_both_forms_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    files = {
        "index.html": b"<p>again and again</p>" * 500,
        "assets/main.js": b"let x = 1;" * 500,
        "assets/font.woff2": os.urandom(5000),
        "small.json": b"1" * (LEAST_BYTES - 1),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    compress(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.rglob("*.gz")}
    assert first.keys() == {"index.html.gz", "main.js.gz"}
    for name, packed in first.items():
        (path,) = tmp_path.rglob(name)
        data = path.with_suffix("").read_bytes()
        assert gzip.decompress(packed) == data
        assert len(packed) <= MOST_RATIO * len(data)
    compress(tmp_path)  # of what is compressed there is no second form, and no date in the first
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.gz")} == first

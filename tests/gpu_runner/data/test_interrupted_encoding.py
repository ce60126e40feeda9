"""Ctrl-C while several processes encode a large file: one word, no traceback, nothing left."""

import contextlib
import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from conftest import matrix
from gpu_runner.data import cache
from gpu_runner.errors import ExitCode
from run_process import runner

ROWS = 20_000
PATIENCE_SECONDS = 120


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding", matrix([False, True], True), ids=["as they begin", "as they encode"]
)
def test_ctrl_c_ends_all_that_encode_without_a_traceback(
    encoding: bool, tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, place = tmp_path / "rows.jsonl", tmp_path / "cache" / "rows"
    row = json.dumps({"text": "some words " * 10, "meta": "not encoded " * 60})
    file.write_text(f"{row}\n" * ROWS)
    assert file.stat().st_size > cache.LEAST_BYTES
    monkeypatch.setenv(cache.CACHE_ENV, str(place.parent))
    process = runner("data", str(file), "--model", str(model_dir))

    def begun() -> bool:
        assert process.poll() is None
        return any(path.stat().st_size or not encoding for path in place.glob(".*.unfinished/ids"))

    deadline = time.monotonic() + PATIENCE_SECONDS
    while not begun():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if not encoding:
        time.sleep(0.5)
    (command,) = (psutil.Process(child.pid) for child in process.started)
    for one in (command, *command.children(recursive=True)):  # as a terminal sends it to all
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
            one.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED
    assert said.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in said
    assert list(place.glob(".*.unfinished")) == []

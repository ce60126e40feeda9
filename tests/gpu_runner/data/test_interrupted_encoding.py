"""Ctrl-C while several processes encode a large file: one word, no traceback, nothing left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import matrix
from gpu_runner.data import cache
from gpu_runner.errors import ExitCode
from run_process import ROOT

ROWS = 6_000
PATIENCE_SECONDS = 120


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding", matrix([False, True], True), ids=["as they begin", "as they encode"]
)
def test_ctrl_c_ends_all_that_encode_without_a_traceback(
    encoding: bool, tmp_path: Path, model_dir: Path
) -> None:
    file, place = tmp_path / "rows.jsonl", tmp_path / "cache" / "rows"
    row = json.dumps({"text": "some words " * 400})
    file.write_text(f"{row}\n" * ROWS)
    assert file.stat().st_size > cache.LEAST_BYTES
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "py"), cache.CACHE_ENV: str(place.parent)}
    command = [sys.executable, "-m", "gpu_runner", "data", str(file), "--model", str(model_dir)]
    with subprocess.Popen(
        command,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Who starts us in the background ignores Ctrl-C, and a child would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:

        def begun() -> bool:
            assert process.poll() is None
            return any(path.stat().st_size or not encoding for path in place.glob("making-*/ids"))

        deadline = time.monotonic() + PATIENCE_SECONDS
        while not begun():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if not encoding:
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == ExitCode.INTERRUPTED
    assert err.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in err + out
    assert list(place.glob("making-*")) == []

"""The resident set that a process with tensors of a known size measures for itself."""

import subprocess
import sys

import pytest

from gpu_runner.memory.resident import ONEDNN_BYTES, predict_resident_set
from run_process import ROOT
from unfrozen.units import MIB

HOLD = f"""
import sys
sys.path.insert(0, {str(ROOT / "py")!r})
import psutil
import torch
import transformers
from gpu_runner.memory.resident import predict_resident_set

found = predict_resident_set(300 << 20, 100 << 20)
held = [torch.ones(1 << 20) for _ in range(75)]
print(psutil.Process().memory_info().rss, found.least, found.most)
"""


@pytest.mark.slow
def test_a_process_shows_its_libraries_beside_its_tensors() -> None:
    command = [sys.executable, "-W", "ignore", "-c", HOLD]
    shown, least, most = map(int, subprocess.check_output(command, text=True).split())
    assert least * 0.97 <= shown <= most
    assert shown > 300 * MIB + 150 * MIB  # half of it is no tensor


def test_memory_beyond_tensors_is_counted() -> None:
    alone = predict_resident_set(1000 * MIB, 100 * MIB)
    assert alone.least - alone.libraries == 1000 * MIB
    assert alone.most - alone.libraries == 1240 * MIB
    in_16_bits = predict_resident_set(1000 * MIB, 100 * MIB, in_16_bits=True)
    assert in_16_bits.most - in_16_bits.libraries == 1240 * MIB + ONEDNN_BYTES
    together = predict_resident_set(1000 * MIB, 100 * MIB, ranks=2)
    assert together.most - together.libraries == 1190 * MIB  # each reads half of the model
    whole = predict_resident_set(1000 * MIB, 100 * MIB, ranks=2, read_whole=True)
    assert whole.most - whole.libraries == 1340 * MIB  # each holds all of it, and its file


def test_the_text_is_one_line() -> None:
    text = str(predict_resident_set(1 << 30, 1 << 28))
    assert text.startswith("about ")
    assert "of Python and libraries" in text

"""A file of Python that does not come on: its download ends after a while, and says so."""

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCENES = Path(__file__).with_name("slow-file.mjs")


def test_a_download_that_stalls_is_given_up_and_one_that_trickles_is_not(node: str) -> None:
    done = subprocess.run(
        [node, str(SCENES)], capture_output=True, text=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    assert found["trickles"] == 8
    assert found["stalls"] == (
        "Nothing arrived for 0.5 seconds while Python was loading. Try again."
    )
    assert isinstance(found["ended"], str)
    assert "Nothing arrived" not in found["ended"]
    assert found["left"] == ["/stalls", "/stalls"]

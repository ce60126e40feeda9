"""How commands are typed where the server of the page is installed."""

import os
import subprocess
from pathlib import Path

import pytest

from run.javascript import JavaScript

SEVERAL = "torchrun --nproc-per-node 2 \\\n  -m gpu_runner resume r"


@pytest.mark.parametrize(
    ("text", "own", "shown"),
    [
        ("unfrozen train", "unfrozen", "unfrozen train"),
        ("unfrozen train", ".venv/bin/unfrozen", ".venv/bin/unfrozen train"),
        (SEVERAL, ".venv/bin/unfrozen", f".venv/bin/{SEVERAL}"),
        (SEVERAL, "unfrozen", SEVERAL),
        ("see unfrozen train", "/opt/unfrozen", "see unfrozen train"),
        ("unfrozen train", "'my env/unfrozen'", "unfrozen train"),
        ("unfrozen train", "python -m gpu_runner", "unfrozen train"),
    ],
)
def test_a_command_gets_the_path_of_the_one_that_serves_the_page(
    js: JavaScript, text: str, own: str, shown: str
) -> None:
    assert js("return spellCommand(input.text, input.own)", {"text": text, "own": own}) == shown


def test_a_page_that_nobody_told_has_the_name(js: JavaScript) -> None:
    assert js("return program()") == "unfrozen"
    assert js("return spellCommand('unfrozen serve')") == "unfrozen serve"


def test_a_run_s_name_is_typed_so_that_a_shell_reads_it_back(
    js: JavaScript, tmp_path: Path
) -> None:
    names = ["plain-1.a", "$(touch owned)", "it's", "a\\b'\n\x1b]0;t\x07", "\u202e\u3164é", "-x"]
    quoted = [js("return quoteForShell(input)", name) for name in names]
    assert quoted[0] == names[0]
    assert not [word for word in quoted if not word.removeprefix("-- ").replace("é", "").isascii()]
    for name, word in zip(names, quoted, strict=True):
        line = f"printf '%s\\0' {word.removeprefix('-- ')}"
        assert line.isprintable()
        shell = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True)
        assert shell.stdout == os.fsencode(name) + b"\0"
    assert not [*tmp_path.iterdir()]
    assert quoted[-1] == "-- -x"

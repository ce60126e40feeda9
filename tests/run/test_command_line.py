"""How commands are typed where the server of the page is installed."""

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

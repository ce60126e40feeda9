from typing import Any

import pytest
from rich.console import Console

from gpu_runner import selftest
from gpu_runner.errors import ExitCode

pytestmark = pytest.mark.slow


def test_this_machine_passes_with_a_line_a_check(console: Console) -> None:
    assert selftest.run(console, "cpu") == ExitCode.OK
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line[0] for line in lines[:-1]] == ["✓"] * len(selftest.CHECKS)
    assert sum(": exactly, " in line for line in lines) == 2  # no bound of 0e+00 to be read
    assert lines[-1] == f"All {len(selftest.CHECKS)} checks passed on cpu."


def test_a_wrong_loss_is_found_and_the_exit_code_says_so(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = selftest.loss_sum

    def wrong(model: Any, batch: Any, *more: Any) -> Any:
        total, tokens = right(model, batch, *more)
        return total * (1.01 if batch.bounds is None else 1.02), tokens

    monkeypatch.setattr(selftest, "loss_sum", wrong)
    assert selftest.run(console, "cpu") == ExitCode.NOT_READY
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "✗ The loss agrees with numpy's" in text
    assert "✗ Rows packed into one sequence" in text
    assert "✓ A run that is saved" in text
    assert "2 of 6 checks failed: do not train here." in text

"""A running Node that evaluates a few lines at a time; values go in and out as JSON."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from unfrozen.schema import page_schema


class JavaScript:
    """Call it with a function body and a value; the body's `return` comes back."""

    def __init__(self, node: str, program: Path) -> None:
        self._process = subprocess.Popen(
            [node, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "EVENT_SCHEMA": json.dumps(page_schema())},
        )

    def __call__(self, body: str, value: object = None) -> Any:
        """What `body` returns. An exception in JavaScript fails the test with its stack."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"body": body, "input": value}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def stop(self) -> None:
        """End the process."""
        with self._process:
            self._process.terminate()

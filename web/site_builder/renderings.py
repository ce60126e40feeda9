"""What JavaScript draws at build time: tables, plots and formulas, in one Node process.

The same pure renderers draw in the reader's browser, so baked and live figures cannot differ.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from site_builder.errors import SiteError

RENDERER = Path(__file__).with_name("render.mjs")
_PLACEHOLDER = re.compile(r"<!--render:(\d+)-->")


class Renderings:
    """Collects requests while the chapters are read; draws them all at once at the end."""

    def __init__(self) -> None:
        """Start with no request."""
        self._requests: list[dict[str, Any]] = []
        self._places: list[str] = []

    def add(self, where: str, kind: str, **request: Any) -> str:
        """Ask for a "table", "plot" or "math"; return the comment that stands in for its HTML."""
        self._requests.append({"kind": kind, **request})
        self._places.append(where)
        return f"<!--render:{len(self._requests) - 1}-->"

    def fill(self, html: str) -> str:
        """Put the drawings where their comments stand; SiteError if one fails."""
        drawn = self._draw()
        return _PLACEHOLDER.sub(lambda match: drawn[int(match[1])], html)

    def _draw(self) -> list[str]:
        node = subprocess.run(
            [os.environ.get("UNFROZEN_NODE", "node"), str(RENDERER)],
            input=json.dumps(self._requests),
            capture_output=True,
            text=True,
            check=False,
        )
        if node.returncode:
            raise SiteError(str(RENDERER.name), f"Node stopped: {node.stderr.strip()}")
        answers: list[dict[str, str]] = json.loads(node.stdout)
        for where, request, answer in zip(self._places, self._requests, answers, strict=True):
            if "error" in answer:
                raise SiteError(where, f"cannot draw this {request['kind']}: {answer['error']}")
        return [answer["html"] for answer in answers]

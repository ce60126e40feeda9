"""HTML that other programs render: Jinja templates here, tables, plots and formulas in Node.

The browser draws with the same JavaScript functions, so a figure looks the same before and after
its script has loaded.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from site_builder import SiteError

NODE_SCRIPT: Final = Path(__file__).with_name("render.mjs")
_PLACEHOLDER: Final = re.compile(r"<!--render:(\d+)-->")

TEMPLATES: Final = Environment(
    loader=FileSystemLoader([NODE_SCRIPT.parent, NODE_SCRIPT.parent / "diagrams"]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class RenderQueue:
    """Collects render requests while chapters are read; one Node process answers all of them."""

    def __init__(self) -> None:
        """Start with no request."""
        self._requests: list[dict[str, Any]] = []
        self._places: list[str] = []

    def add(self, where: str, kind: str, **request: Any) -> str:
        """Queue a request of a kind in render.mjs; return a comment that its HTML will replace."""
        self._requests.append({"kind": kind, **request})
        self._places.append(where)
        return f"<!--render:{len(self._requests) - 1}-->"

    def fill(self, html: str) -> str:
        """Replace every placeholder by its HTML; raises SiteError when a request fails."""
        rendered = self._render()
        return _PLACEHOLDER.sub(lambda match: rendered[int(match[1])], html)

    def _render(self) -> list[str]:
        if not self._requests:
            return []
        node = subprocess.run(
            [os.environ.get("UNFROZEN_NODE", "node"), str(NODE_SCRIPT)],
            input=json.dumps(self._requests),
            capture_output=True,
            text=True,
            check=False,
        )
        if node.returncode:
            raise SiteError(NODE_SCRIPT.name, f"Node stopped: {node.stderr.strip()}")
        answers: list[dict[str, str]] = json.loads(node.stdout)
        for where, request, answer in zip(self._places, self._requests, answers, strict=True):
            if "error" in answer:
                raise SiteError(where, f"cannot draw this {request['kind']}: {answer['error']}")
        return [answer["html"] for answer in answers]


def data_element(kind: str, data: Any, where: str, queue: RenderQueue) -> str:
    """Return a `<data-table>` or `<data-plot>` with its data and its first drawing."""
    html = queue.add(where, kind, data=data)
    return f"<data-{kind}>{embed_json(data, 'data')}{html}</data-{kind}>\n"


def embed_json(data: Any, css_class: str = "", element_id: str = "") -> str:
    """Return a script element that holds JSON; a `</script>` in the data cannot close it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    names = (f' class="{css_class}"' if css_class else "") + (
        f' id="{element_id}"' if element_id else ""
    )
    return f'<script type="application/json"{names}>{text}</script>'


def fold(summary: str, html: str) -> str:
    """Return HTML that is hidden behind a summary line until the reader opens it."""
    return f'<details class="accuracy-details"><summary>{summary}</summary>\n{html}</details>\n'

"""Edited cells in one file: Python runs it where there is no page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import build
from widgets.node import Node

TABLE = """
import json, js
gigabytes = 112
js.window.py_table_data = json.dumps({"headers": ["Model", "GB"], "rows": [["7B", gigabytes]]})
"""
PLOT = """
from unfrozen.publish import show_plot
show_plot("Memory", "Step", "GB", [1, 2], {"Peak": [gigabytes, None]})"""


def saved(node: Node, *cells: str) -> str:
    named: list[dict[str, Any]] = [{"id": f"cell-{n}", "code": c} for n, c in enumerate(cells)]
    return str(node.call("cells/edits", "editsFile", named, "https://example.org/x/"))


def test_it_runs_and_prints_what_the_cells_would_show(node: Node, tmp_path: Path) -> None:
    text = saved(node, TABLE, PLOT)
    assert [line for line in text.splitlines() if line.startswith("# %%")][1:] == [
        "# %% cell-0",
        "# %% cell-1",
    ]
    path = tmp_path / "edits.py"
    path.write_text(text, encoding="utf-8")
    environment = {"PYTHONPATH": str(build.ROOT / "py"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "", "Model\tGB", "7B\t112", "Memory", "\t1\t2", "Peak\t112\tNone",
    ]  # fmt: skip


def test_a_cell_that_awaits_is_pointed_out_and_a_title_stays_one_line(node: Node) -> None:
    assert "a cell that awaits" in saved(node, "import asyncio\nawait asyncio.sleep(0)\n")
    assert "a cell that awaits" not in saved(node, "awaited = 1\n")
    hostile = [{"id": "a\nimport os", "code": ""}]
    assert "# %% a import os\n" in node.call("cells/edits", "editsFile", hostile, "here")

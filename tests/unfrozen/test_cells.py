"""An article's cells, written for any page with the contract: plain Python that imports `js`."""

from __future__ import annotations

import sys

import pytest

from pycell.window import make_js_module
from unfrozen.publish import Plot, Table, parse_plots, parse_table

MEMORY_TABLE = """
import json, math
import js

models = [("LLaMA-7B", 7e9, 4096, 32), ("LLaMA-13B", 13e9, 5120, 40), ("LLaMA-70B", 70e9, 8192, 80)]
seq_len, batch, k = 2048, 1, 12
rows = []
for name, params, d_model, layers in models:
    states_gb = 16 * params / 1e9
    activations_gb = seq_len * batch * d_model * layers * k / 1e9
    total_gb = states_gb + activations_gb
    rows.append([name, f"{params / 1e9:.0f}B", f"{states_gb:.1f} GB", f"{activations_gb:.1f} GB",
                 f"{total_gb:.1f} GB", math.ceil(total_gb / 80)])
js.window.py_table_data = json.dumps({
    "headers": ["Model", "Params", "Weights+Opt+Grad", "Activations (b=1)", "Total",
                "Min GPUs (A100 80 GB)"],
    "rows": rows,
})
"""

SCHEDULES = """
import json, math
import js

total, warmup, peak, floor = 1000, 100, 2e-5, 1e-6

def cosine(step):
    if step < warmup:
        return peak * step / warmup
    progress = (step - warmup) / (total - warmup)
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * progress))

def constant(step):
    return peak * min(1, step / warmup)

steps = list(range(0, total + 1, 10))
js.window.py_plot_data = json.dumps([{
    "title": "Learning rate", "x_label": "Step", "y_label": "Learning rate", "x_data": steps,
    "lines": [
        {"label": "Cosine with warm-up", "data": [cosine(s) for s in steps], "color": "#4c78a8"},
        {"label": "Constant with warm-up", "data": [constant(s) for s in steps], "color": "#888"},
    ],
}])
"""

PACKAGE_SCHEDULES = """
import json
import js
from unfrozen.schedules import Schedule, warmup_cosine

constant = Schedule("constant", 1000, 2e-5, 100)
steps = list(range(0, 1001, 10))
js.window.py_plot_data = json.dumps([{
    "title": "Learning rate", "x_label": "Step", "y_label": "Learning rate", "x_data": steps,
    "lines": [
        {"label": "Cosine with warm-up", "color": "#4c78a8",
         "data": [warmup_cosine(s, 1000, 100, 2e-5, 1e-6) for s in steps]},
        {"label": "Constant with warm-up", "color": "#f58518",
         "data": [constant.at(s) for s in steps]},
    ],
}])
"""


def published(source: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a cell assigns, through the shim that the page uses."""
    found: dict[str, str] = {}
    monkeypatch.setitem(sys.modules, "js", make_js_module(found.__setitem__))
    exec(compile(source, "<cell>", "exec"), {})
    return found


def table_of(source: str, monkeypatch: pytest.MonkeyPatch) -> Table:
    return parse_table(published(source, monkeypatch)["py_table_data"])


def plot_of(source: str, monkeypatch: pytest.MonkeyPatch) -> Plot:
    (plot,) = parse_plots(published(source, monkeypatch)["py_plot_data"])
    return plot


def test_the_memory_table_of_chapter_two(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(MEMORY_TABLE, monkeypatch)
    assert table.rows == (
        ("LLaMA-7B", "7B", "112.0 GB", "3.2 GB", "115.2 GB", 2),
        ("LLaMA-13B", "13B", "208.0 GB", "5.0 GB", "213.0 GB", 3),
        ("LLaMA-70B", "70B", "1120.0 GB", "16.1 GB", "1136.1 GB", 15),
    )


def test_the_schedules_of_chapter_four(monkeypatch: pytest.MonkeyPatch) -> None:
    plot = plot_of(SCHEDULES, monkeypatch)
    cosine, constant = (line.data for line in plot.lines)
    assert len(cosine) == len(constant) == len(plot.x_data) == 101
    assert [cosine[0], cosine[10], cosine[-1]] == pytest.approx([0, 2e-5, 1e-6])
    assert [constant[0], constant[5], constant[-1]] == pytest.approx([0, 1e-5, 2e-5])


def test_the_package_draws_the_same_schedules_as_plain_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, packaged = (plot_of(source, monkeypatch) for source in (SCHEDULES, PACKAGE_SCHEDULES))
    for ours, theirs in zip(packaged.lines, plain.lines, strict=True):
        assert ours.data == pytest.approx(theirs.data)

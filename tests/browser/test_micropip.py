"""micropip in a cell: it installs what this origin serves and refuses the rest in words."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from browser.cell_reader import CellReader, one_page
from browser.plain_host import ISOLATION, Host, hosted
from slowness import slowness

CHAPTERS = ("what-full-fine-tuning-is",)

UNDER_WAY = re.compile(r"numpy [1-9]\d?%")
INSTALL = "import micropip\nawait micropip.install({!r})\n"
MEASURE = "measure-1.2-py3-none-any.whl"


def make_wheel(folder: Path) -> None:
    """Write a wheel of one module that needs numpy, as a reader's own site may serve one."""
    info = "measure-1.2.dist-info"
    files = {
        "measure.py": "import numpy as np\ndef length(x):\n    return float(np.linalg.norm(x))\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: measure\nVersion: 1.2\n"
        "Requires-Dist: numpy\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    folder.mkdir(exist_ok=True)
    (folder / MEASURE).write_bytes(data.getvalue())


@pytest.fixture(scope="module")
def host(host: Host) -> Host:
    """That host, which isolates its pages and serves a wheel of its own."""
    host.headers = ISOLATION
    make_wheel(host.folder / "wheels")
    return host


@pytest.fixture(scope="module")
def reader(chromium: Browser, host: Host) -> Iterator[CellReader]:
    with one_page(chromium, host.url) as reader:
        yield reader


HERE = "its cells can import Python's standard library, unfrozen, numpy, micropip and packaging"
HOST = "micropip can only install wheels from this page's own host"
REFUSED = {
    "pandas": HERE,
    "torch>=2": HERE,
    "numpy==1.26": "numpy is available in version 2.4.3 only",
    "https://example.com/pandas-3-py3-none-any.whl": HOST,
    f"//example.com/{MEASURE}": HOST,
    f"wheels/{MEASURE}?to=elsewhere.whl": HOST,
    "wheels/other-1-py3-none-any.whl": "the server answered 404 for wheels/other-1-py3-",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_this_origin_does_not_serve_is_refused_in_one_sentence(
    reader: CellReader, what: str
) -> None:
    result = reader.run(INSTALL.format(what))
    assert (result["ok"], result["errorLine"]) == (False, 2)
    last = result["error"].rstrip("\n").splitlines()[-1]
    assert last.startswith("ValueError: ")
    assert REFUSED[what] in last


def test_stop_ends_what_micropip_downloads(reader: CellReader, host: Host) -> None:
    assert reader.run("import micropip\nkept = 41")["ok"]
    host.pause_seconds = 0.5
    reader.start(INSTALL.format("numpy"))
    reader.page.locator("python-status .python-words", has_text=UNDER_WAY).wait_for()
    stopped = reader.stop()
    host.pause_seconds = 0
    assert stopped["stopSeconds"] < 0.5 * slowness()
    assert (stopped["ok"], stopped["stopped"], stopped["cleared"]) == (False, True, False)
    assert reader.run("kept + 1")["value"] == "42"


def test_numpy_can_be_installed_and_is_listed(reader: CellReader) -> None:
    result = reader.run(INSTALL.format("numpy") + "import numpy\nprint(micropip.list())")
    assert result["ok"], result["error"]
    assert "numpy    | 2.4.3   | pyodide" in result["stdout"]
    frozen = reader.run("import json\nsorted(json.loads(micropip.freeze())['packages'])")
    assert frozen["value"] == "['gpu_runner', 'micropip', 'numpy', 'packaging']"


@pytest.mark.matrix
@pytest.mark.parametrize("whole", [True, False], ids=["a whole address", "relative to the page"])
def test_a_wheel_of_this_origin_is_installed_with_what_it_needs(
    reader: CellReader, host: Host, whole: bool
) -> None:
    reader.restart()
    address = f"{host.url if whole else ''}wheels/{MEASURE}"
    result = reader.run(INSTALL.format(address) + "import measure\nmeasure.length([3, 4])")
    assert result["value"] == "5.0", result["error"]


@pytest.mark.matrix
def test_a_wheel_that_is_elsewhere_after_all_is_not_followed(
    reader: CellReader, host: Host, site: Path, tmp_path: Path
) -> None:
    with hosted(site, tmp_path / "other") as other:
        make_wheel(other.folder / "wheels")
        host.redirects = {f"/{MEASURE}": f"{other.url}wheels/{MEASURE}"}
        result = reader.run(INSTALL.format(MEASURE))
        assert "did not arrive" in result["error"]
        assert other.asked == []


def test_the_page_stays_sealed_when_numpy_and_micropip_are_here(reader: CellReader) -> None:
    assert reader.run(INSTALL.format("numpy") + "import numpy")["ok"]
    for code in (
        "import js\njs.fetch",
        "from pyodide.code import run_js\nrun_js('1')",
        "from pyodide_js import loadPackage",
        "import pyodide.http\nawait pyodide.http.pyfetch('/')",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1/')",
        "from micropip._compat import compatibility_layer as layer\n"
        "await layer.fetch_bytes('/index.html', {})",
    ):
        assert not reader.run(code)["ok"], code


@pytest.mark.matrix
def test_numpy_and_micropip_work_under_the_policy_of_the_server(
    page: Page, serve_site: Any
) -> None:
    reader = CellReader(page, serve_site.url)
    assert not reader.run(INSTALL.format(f"{serve_site.origin}/api/runs"))["ok"]
    name = next(path.name for path in serve_site.site.glob("pyodide/packaging-*.whl"))
    result = reader.run(INSTALL.format(f"pyodide/{name}") + "import numpy\nnumpy.__version__")
    assert result["value"] == "'2.4.3'", result["error"]


def test_a_plot_may_hold_the_numbers_of_numpy(reader: CellReader) -> None:
    code = """
import json, js
import numpy as np
x = np.linspace(0, 1, 3, dtype=np.float32)
js.window.py_plot_data = json.dumps([{"title": "t", "x_label": "x", "y_label": "y", "x_data": x,
    "lines": [{"label": "a", "data": [np.float32(1.5), np.int64(2), np.float64(3)]},
              {"label": "b", "data": np.array([1, 2, 3], dtype=np.uint8)}]}])
js.window.py_table_data = json.dumps({"headers": ["n", "yes"], "rows": [[np.int32(7), np.True_]]})
"""
    result = reader.run(code)
    assert result["ok"], result["error"]
    (plot,) = reader.shown()["plots"]
    assert plot["x_data"] == [0, 0.5, 1]
    assert [line["data"] for line in plot["lines"]] == [[1.5, 2, 3], [1, 2, 3]]
    (table,) = reader.shown()["table"]
    assert table["rows"] == [[7, True]]
    refused = reader.run(code.replace("np.int64(2)", "np.nan"))
    assert "py_plot_data[0].lines[0].data[1]: got nan" in refused["error"]
    assert "None for a gap" in refused["error"]

"""The packages of the page: the files of Pyodide's lock, and no part of a first visit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from playwright.sync_api import Page

from conftest import StaticSite
from house.tree import ROOT
from site_builder.browser_python import DEMO_PACKAGE
from site_builder.wheels import PACKAGES

WHOLE_LOCK = json.loads((ROOT / "node_modules" / "pyodide" / "pyodide-lock.json").read_text())


def test_the_lock_of_the_site_names_what_the_site_carries(site: Path) -> None:
    lock = json.loads((site / "pyodide" / "pyodide-lock.json").read_text())
    assert lock["info"] == WHOLE_LOCK["info"]
    assert sorted(lock["packages"]) == sorted(PACKAGES)
    wheels = {path.name: path for path in site.rglob("*.whl")}
    own = {name for name in wheels if name.startswith(DEMO_PACKAGE)}  # not of Pyodide's lock
    assert len(own) == 1
    assert wheels.keys() - own == {entry["file_name"] for entry in lock["packages"].values()}
    for name, entry in lock["packages"].items():
        assert entry == WHOLE_LOCK["packages"][name]
        data = wheels[entry["file_name"]].read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]


def test_the_worker_knows_each_wheel_by_its_hash_and_size(site: Path) -> None:
    worker = (site / "python" / "worker.js").read_text()
    for name in PACKAGES:
        entry = WHOLE_LOCK["packages"][name]
        assert entry["sha256"] in worker
        assert f"bytes:{(site / 'pyodide' / entry['file_name']).stat().st_size}" in worker


def test_a_first_visit_fetches_no_package_and_no_python(
    page: Page, static_site: StaticSite
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(static_site.url, wait_until="networkidle")
    assert asked
    assert not [url for url in asked if ".whl" in url or "/pyodide/" in url or "/python/" in url]


def test_the_page_says_which_python_it_runs_and_what_that_fetches(site: Path) -> None:
    html = (site / "index.html").read_text()
    sentence = "Cells run Python 3.14 in your browser (Pyodide 314."
    assert html.count(sentence) == 2, "in the top bar and in the colophon"
    assert "where the host compresses" in html
    assert "import numpy 2.92" in html

"""What the page ships of others is listed with its licence, in words and for machines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from site_builder import SiteError, third_party
from site_builder.third_party import NOTICES, SBOM, components

SHIPPED = ("@codemirror/view", "@lezer/python", "uplot", "pyodide", "cpython", "numpy")


def test_every_package_in_the_scripts_stands_in_the_notices_with_its_text(site: Path) -> None:
    text = (site / NOTICES).read_text("utf-8")
    headed = re.findall(r"^(\S+) \S+ \([A-Z][\w. -]+\)$", text, re.MULTILINE)
    assert {*SHIPPED} <= {*headed}
    assert "Mozilla Public License Version 2.0" in text
    assert "LICENSE AGREEMENT is between the Python Software Foundation" in text
    assert "Copyright (c) Meta Platforms" in text
    assert text.count("Marijn Haverbeke") >= 2


def test_the_bill_of_materials_names_what_is_shipped_and_what_is_locked(site: Path) -> None:
    bom = json.loads((site / SBOM).read_text("utf-8"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    found = {entry["purl"]: entry for entry in bom["components"]}
    references = [entry["bom-ref"] for entry in bom["components"]]
    assert len({*references}) == len(references)
    shipped = {entry["name"] for entry in bom["components"] if "scope" not in entry}
    assert {*SHIPPED} <= shipped
    assert any(purl.startswith("pkg:pypi/transformers@") for purl in found)
    assert not [purl for purl in found if not re.fullmatch(r"pkg:(npm|pypi|github)/\S+@\S+", purl)]


def test_a_package_without_a_licence_text_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bare"
    package.mkdir()
    (package / "package.json").write_text('{"version": "1.0", "license": "MIT"}')
    real = third_party._npm

    def npm(name: str, text: str = "") -> third_party.Component:
        with monkeypatch.context() as patch:
            patch.setattr(third_party, "_MODULES", tmp_path if name == "bare" else real_modules)
            return real(name, text)

    real_modules = third_party._MODULES
    monkeypatch.setattr(third_party, "_npm", npm)
    with pytest.raises(SiteError, match="bare: it has no licence text"):
        components(["bare"])

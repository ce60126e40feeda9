"""Lists what the page ships that others wrote: their licences in one text, and an SBOM.

    bundled npm packages   node_modules/*/package.json and LICENSE
    fonts                  one licence for all, see fonts.py
    wheels for cells       the licences in each wheel
    Pyodide                MPL-2.0, whose text is in licences/; what its WebAssembly links:
                           licences/cpython.txt (Doc/license.rst of CPython 3.13.5, which lists what
                           CPython incorporates) and licences/linked-libraries.txt

A component without a licence text stops the build.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from site_builder import SiteError, wheels
from site_builder.config import ROOT
from site_builder.fonts import FACES, font_licences

NOTICES: Final = "third-party-notices.txt"
SBOM: Final = "sbom.cdx.json"
LOCK: Final = ROOT / "requirements.txt"
_MODULES: Final = ROOT / "node_modules"
_TEXTS: Final = Path(__file__).with_name("licences")
_WHEEL_LICENCES: Final = {"numpy": "BSD-3-Clause"}


@dataclass(frozen=True, slots=True)
class Component:
    """Something of others in the page: licence by SPDX, package URL, and the licence in full."""

    name: str
    version: str
    licence: str
    purl: str
    text: str


def components(bundled: Iterable[str]) -> list[Component]:
    """Return everything that is shipped; `bundled` names the npm packages in our scripts.

    Raises SiteError for one without a licence text.
    """
    fonts = {"/".join(source.split("/")[:2]) for face in FACES for _, source, _ in face.subsets}
    found = [
        *map(_npm, sorted({*bundled})),
        *(_npm(name, font_licences()) for name in sorted(fonts)),
        *_wheels(),
        *_runtime(),
    ]
    for component in found:
        if not component.text.strip():
            raise SiteError(component.name, "it has no licence text, so it cannot be shipped")
    return found


def _npm(name: str, text: str = "") -> Component:
    folder = _MODULES / name
    package = json.loads((folder / "package.json").read_text("utf-8"))
    text = text or "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("LICEN[CS]E*")))
    purl = f"pkg:npm/{name.replace('@', '%40')}@{package['version']}"
    return Component(name, package["version"], package["license"], purl, text)


def _wheels() -> Iterator[Component]:
    for name, entry in wheels.read_lock()["packages"].items():
        purl = f"pkg:pypi/{name}@{entry['version']}"
        yield Component(name, entry["version"], _WHEEL_LICENCES[name], purl, _wheel_text(name))


def _wheel_text(name: str) -> str:
    entry = wheels.read_lock()["packages"][name]
    with zipfile.ZipFile(wheels.CACHE / entry["file_name"]) as archive:
        names = [path for path in archive.namelist() if ".dist-info/licenses/" in path]
        texts = (archive.read(path).decode("utf-8", "replace") for path in names)
        return "\n\n".join(f"[{path}]\n\n{text}" for path, text in zip(names, texts, strict=True))


def _runtime() -> Iterator[Component]:
    version = json.loads((_MODULES / "pyodide" / "package.json").read_text("utf-8"))["version"]
    source = f"Its source: https://github.com/pyodide/pyodide/tree/{version}\n\n"
    linked = (_TEXTS / "linked-libraries.txt").read_text("utf-8")
    text = f"{source}{(_TEXTS / 'mpl-2.0.txt').read_text('utf-8')}\n\n{linked}"
    yield Component("pyodide", version, "MPL-2.0", f"pkg:npm/pyodide@{version}", text)
    python = wheels.read_lock()["info"]["python"]
    text = (_TEXTS / "cpython.txt").read_text("utf-8")
    yield Component("cpython", python, "PSF-2.0", f"pkg:github/python/cpython@v{python}", text)


def notices(shipped: Iterable[Component]) -> str:
    """Return all licences; components that share a text stand above it together."""
    by_text: dict[str, list[Component]] = {}
    for component in shipped:
        by_text.setdefault(component.text.strip(), []).append(component)
    blocks = [
        "\n".join(f"{c.name} {c.version} ({c.licence})" for c in owners) + f"\n\n{text}\n"
        for text, owners in by_text.items()
    ]
    rule = f"\n{'=' * 96}\n\n"
    return (
        "Unfrozen contains the work of others, each under the licence that follows its name.\n"
        + (rule + rule.join(blocks))
    )


def sbom(shipped: Iterable[Component], version: str) -> str:
    """Return a software bill of materials, CycloneDX 1.6: what is shipped, and the Python packages
    that requirements.txt pins.
    """
    entries: list[dict[str, Any]] = [
        {
            "type": "library",
            "name": c.name,
            "version": c.version,
            "purl": c.purl,
            "bom-ref": f"shipped:{c.purl}",
            "licenses": [{"expression": c.licence}],
        }
        for c in shipped
    ]
    for line in LOCK.read_text("utf-8").splitlines():
        name, sep, rest = line.partition("==")
        if sep and not line.startswith(" "):
            pinned, _, marker = rest.removesuffix(" \\").partition(" ; ")
            purl = f"pkg:pypi/{name}@{pinned}"
            entry = {"type": "library", "name": name, "version": pinned, "purl": purl}
            reference = f"locked:{purl}" + (f" ; {marker}" if marker else "")
            entries.append(entry | {"scope": "optional", "bom-ref": reference})
    main = {"type": "application", "name": "unfrozen", "version": version, "bom-ref": "unfrozen"}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main},
        "components": entries,
    }
    return json.dumps(document, indent=1) + "\n"

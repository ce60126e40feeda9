"""What a cell is going to import is read from its source, and from what it imports in turn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pycell.imports import packages_imported

CARRIED = ("numpy", "micropip", "packaging")


@pytest.mark.parametrize(
    "source",
    [
        "import numpy",
        "import numpy as np",
        "import json, numpy.linalg",
        "from numpy import array",
        "from numpy.linalg import norm",
        "def f():\n    import numpy",
        "try:\n    import numpy\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('numpy.linalg')",
        "__import__('numpy')",
        "from unfrozen.lab.optimizer import AdamW",
        "from unfrozen.lab import optimizer",
        "await f()\nimport numpy",
    ],
)
def test_numpy_is_seen_however_it_is_imported(source: str) -> None:
    assert packages_imported(source, CARRIED) == ["numpy"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "numpy = 1\nprint('import numpy')",
        "import json",
        "import not_there",
        "from . import numpy",
        "from unfrozen.lab.tiny import fine_tune",
        "from unfrozen.plan import plan",
        "import numpyro",
        "import numpy as",
        "name = 'num' + 'py'\n__import__(name)",
        "import_module()",
        "\0",
    ],
)
def test_nothing_is_seen_where_nothing_is_imported_or_nothing_runs(source: str) -> None:
    assert packages_imported(source, CARRIED) == []


def test_several_packages_come_in_order_and_once() -> None:
    source = "import numpy, packaging.version\nimport numpy\nimport micropip"
    assert packages_imported(source, CARRIED) == ["micropip", "numpy", "packaging"]


def test_a_library_that_imports_numpy_in_a_corner_is_read_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "far_library"
    (library / "inner").mkdir(parents=True)
    (library / "__init__.py").write_text("from .near import start\nraise AssertionError('ran')")
    (library / "near.py").write_text("from far_library import inner")
    (library / "inner" / "__init__.py").write_text("from ..deep import *")
    (library / "deep.py").write_text("def f():\n    import numpy.fft")
    (library / "broken.py").write_bytes(b"import \xff numpy")
    monkeypatch.syspath_prepend(tmp_path)
    assert packages_imported("import far_library", CARRIED) == ["numpy"]
    assert packages_imported("import far_library.broken", CARRIED) == ["numpy"]
    assert "far_library" not in sys.modules


def test_a_module_that_was_rewritten_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "rewritten_module.py"
    module.write_text("import json")
    assert packages_imported("import rewritten_module", CARRIED) == []
    module.write_text("import numpy")
    assert packages_imported("import rewritten_module", CARRIED) == ["numpy"]

"""Which file may use which: two journeys, one meeting place, no way back.

Each package says in its docstring in which order it is read; a file uses only what stands above
it. `unfrozen` is pure: the standard library, no input or output, no clock, no threads.
"""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from house.tree import ROOT, declared, nodes, tracked

SOURCE = {"unfrozen": "py", "gpu_runner": "py", "site_builder": "web", "pycell": "web"}
MAY_USE = {  # of our own packages
    "unfrozen": set(),
    "pycell": {"unfrozen"},
    "site_builder": {"unfrozen", "pycell"},
    "gpu_runner": {"unfrozen"},
}
EXTRAS = {
    "unfrozen": [],
    "pycell": [],
    "site_builder": ["site"],
    "gpu_runner": ["base", "train", "hub", "lora", "mcp"],
}
MAY_ALSO_USE = {"unfrozen": ("lab.", "numpy"), "pycell": ("lab", "numpy")}  # nothing above them
COMES_WITH = {
    "markupsafe": "jinja2",
    "anyio": "starlette",
    "mcp_types": "mcp",
    "jinja2": "torch",
    "pyarrow": "datasets",
    "huggingface_hub": "transformers",
}
PYODIDE = {"js", "pyodide", "_pyodide", "pyodide_js"}  # there in the page, for pycell
IMPURE = {
    "asyncio",
    "datetime",
    "glob",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
}
PURE_PARTS = ("urllib.parse.",)  # takes addresses apart, opens none
RIM = ("__main__", "request", "hub", "plain")  # may read, write, exit, ask the hub
DATA = "data_files"  # reads the tables that are shipped with the package, and nothing else


def source_of(package: str, name: str = "") -> Path:
    """The file of a module; without a name, that of the package itself."""
    path = Path(ROOT, SOURCE[package], package, *name.split("."))
    start = path / "__init__.py"
    return start if start.is_file() else path.with_suffix(".py")


@cache
def modules(package: str) -> list[str]:
    """The names of a package's tracked modules without its own: `units`, `memory.classic`, …"""
    top = source_of(package).parent
    found = [path for path in tracked("*.py") if path.is_relative_to(top)]
    names = [".".join(path.relative_to(top).with_suffix("").parts) for path in found]
    return [name.removesuffix(".__init__") for name in names if name != "__init__"]


def reading_order(package: str, within: str = "") -> list[str]:
    """A package's modules as its docstring lists them; a folder's in its place, `__main__` last.

    The list follows the words "Reading order", names in backticks or plainly between commas.
    """
    text = source_of(package, within.rstrip(".")).read_text()
    section = (ast.get_docstring(ast.parse(text)) or "").partition("Reading order")[2]
    names = re.findall(r"`(\w+)`", section) or re.findall(r"\w+", section.split("\n\n")[0])
    order: list[str] = []
    for name in dict.fromkeys([*names, "__main__"]):
        if f"{within}{name}" in modules(package):
            order += place_of(package, f"{within}{name}")
    return order


def place_of(package: str, module: str) -> list[str]:
    """A module; a folder with what is in it, which comes first if its own file imports from it."""
    path = source_of(package, module)
    if path.name != "__init__.py":
        return [module]
    inner = reading_order(package, f"{module}.")
    gathers = any(name.startswith(f"{package}.{module}.") for name in imports(path))
    return [*inner, module] if gathers else [module, *inner]


@cache
def imports(path: Path) -> list[str]:
    """Full names of all a file imports, wherever in it; `from a import b` gives `a.b`."""
    found: list[str] = []
    for statement in nodes(path):
        if isinstance(statement, ast.Import):
            found += (name.name for name in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}: write the import in full, not with dots"
            found += (f"{statement.module}.{name.name}" for name in statement.names)
    return found


def own_module(name: str, known: list[str]) -> str | None:
    """The longest module name of the list that begins the imported name: `a.b` for `a.b.c`."""
    parts = name.split(".")
    candidates = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((candidate for candidate in candidates if candidate in known), None)


@pytest.mark.parametrize("package", SOURCE)
def test_every_module_has_its_place_in_the_reading_order(package: str) -> None:
    assert sorted(reading_order(package)) == sorted(modules(package))


@pytest.mark.parametrize("package", SOURCE)
def test_a_file_uses_only_what_stands_above_it(package: str) -> None:
    order = reading_order(package)
    for place, module in enumerate(order):
        for name in imports(source_of(package, module)):
            if name.startswith(f"{package}."):
                used = own_module(name.removeprefix(f"{package}."), order)
                assert used is None or used in order[: place + 1], (
                    f"{package}.{module} uses {used}, which stands below it"
                )


@pytest.mark.parametrize("package", SOURCE)
def test_a_package_uses_no_other_of_ours_than_it_may(package: str) -> None:
    for module in modules(package):
        used = {name.split(".")[0] for name in imports(source_of(package, module))}
        assert used & set(SOURCE) <= MAY_USE[package] | {package}, module


@pytest.mark.parametrize("package", SOURCE)
def test_a_package_uses_no_library_it_does_not_declare(package: str) -> None:
    distributions = packages_distributions()
    allowed = declared(*EXTRAS[package])
    given = sys.stdlib_module_names | set(SOURCE) | (PYODIDE if package == "pycell" else set())
    for module in modules(package):
        beginning, more = MAY_ALSO_USE.get(package, ("", ""))
        extra = {more} if more and module.startswith(beginning) else set()
        for name in {name.split(".")[0] for name in imports(source_of(package, module))} - extra:
            if name not in given:
                owners = {owner.lower() for owner in distributions.get(name, [name])}
                declares = owners & allowed or COMES_WITH.get(name) in allowed
                assert declares, f"{package}.{module} imports {name}"


def test_the_core_has_no_input_output_clock_or_thread() -> None:
    for module in modules("unfrozen"):
        if module not in RIM:
            path = source_of("unfrozen", module)
            named = [name for name in imports(path) if not name.startswith(PURE_PARTS)]
            used = {name.split(".")[0] for name in named}
            assert not used & IMPURE, f"unfrozen.{module} imports {used & IMPURE}"
            assert not any(name.startswith("unfrozen.plain") for name in named), module
            names = {
                n.func.id
                for n in nodes(path)
                if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            }
            assert not names & {"open", "print", "input", "exec", "eval"}, f"unfrozen.{module}"
            methods = {n.attr for n in nodes(path) if isinstance(n, ast.Attribute)}
            assert module == DATA or "get_data" not in methods, f"unfrozen.{module}"

"""What is said about a module that is not in the page."""

from __future__ import annotations

import sys

CARRIED = ("numpy", "micropip", "packaging")
HERE = "Python's standard library, unfrozen, numpy, micropip and packaging"


def note_on(name: str) -> str:
    """One or two sentences on a top-level module that could not be found, with what to do."""
    if name in CARRIED:
        return (
            f"{name} is here, but nothing in this cell's text told so before it ran. "
            f"Write `import {name}` in it and run it again."
        )
    if name == "gpu_runner":
        return (
            "Of gpu_runner cells can have `from gpu_runner import demo`, written so in their text; "
            "the rest needs PyTorch, and runs on your own machine."
        )
    if name in sys.stdlib_module_names:
        return (
            f"{name} is a part of the standard library that Python in a browser has to do without."
        )
    return (
        f"Cells of this page have {HERE}. For {name}, take the code to the Python of your own "
        f"machine."
    )


def refusal_to_install(name: str, version: str) -> str:
    """Why micropip cannot install a package; `version` is the one that is here, empty if none."""
    if version:
        return f"{name} is here in version {version} and in no other."
    return (
        f"{name} is not here, and this page fetches nothing from anywhere else: its cells have "
        f"{HERE}. On your own machine, `pip install {name}` may have it."
    )

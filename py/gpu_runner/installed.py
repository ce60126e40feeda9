"""The installation: the command to type, the folder of the page, the folder of runs.

    a clone                               installed from a wheel
    .venv/bin/unfrozen                    unfrozen
    dist/, made by build.py               inside the package
    runs/ in the clone                    the user's data folder

`UNFROZEN_RUNS` and `--runs` name another folder of runs.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from gpu_runner.errors import UsageError
from gpu_runner.locks import try_lock
from gpu_runner.text import printable, typed

NAME: Final = "unfrozen"
RUNS_ENV: Final = "UNFROZEN_RUNS"
PAGE: Final = "page"  # inside the package, in a wheel
INDEX: Final = "index.html"
SETUP: Final = "training-setup.json"  # in .venv, written and locked by build.py
UV_STEPS: Final = ("Resolved", "Downloading", "Prepared")


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """A running installation of PyTorch: its seconds so far and uv's latest line."""

    seconds: float
    doing: str


def training_setup() -> TrainingSetup | None:
    """Return what `build.py serve` is installing into this environment; None when nothing is.

    The installer locks the file while it lives, so that nobody waits for one that was killed.
    """
    try:
        with (Path(sys.prefix) / SETUP).open() as status:
            if try_lock(status.fileno(), shared=True) is False:
                return _read_setup(status.read())
    except FileNotFoundError:
        return None
    return None


def _read_setup(text: str) -> TrainingSetup:
    try:
        written = json.loads(text)
        log = Path(written["log"]).read_text("utf-8", "replace").split("\n")
    except (OSError, ValueError):  # it has only just started
        return TrainingSetup(0.0, "")
    steps = [line.strip() for line in log if line.startswith(UV_STEPS)]
    return TrainingSetup(time.time() - written["since"], steps[-1][:60] if steps else "")


def wait_for_training_setup() -> None:
    """Wait while PyTorch is being installed, and print the progress."""
    next_report = 0.0
    while (setup := training_setup()) is not None:
        if setup.seconds >= next_report:
            doing = f": {printable(setup.doing)}" if setup.doing else ""
            print(
                f"Waiting for PyTorch, which build.py is installing ({setup.seconds:.0f} s{doing})",
                file=sys.stderr,
                flush=True,
            )
            next_report = setup.seconds + 10
        time.sleep(0.5)
    importlib.invalidate_caches()


def installed_version(package: str = NAME) -> str:
    """Return the version of a package, by default this one; "unknown" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def package() -> Path:
    """Return the folder of this package."""
    return Path(str(files("gpu_runner")))


def clone() -> Path | None:
    """Return the repository this package runs from; None where it was installed from a wheel."""
    root = package().parent.parent
    return root if (root / "build.py").is_file() and (root / "pyproject.toml").is_file() else None


def runs_folder() -> Path:
    """Return the default folder of runs."""
    if given := os.environ.get(RUNS_ENV):
        return Path(given).expanduser()
    if (root := clone()) is not None:
        return root / "runs"
    return user_data_path(NAME, appauthor=False) / "runs"


def built_page(given: Path | None) -> Path:
    """Return the folder of the built page. Raises `UsageError` with the command that makes it."""
    root = clone()
    own = package() / PAGE if root is None else root / "dist"
    place = given if given is not None else own
    if (place / INDEX).is_file():
        return place
    remedy = (
        "`python3 build.py build` makes it, `python3 build.py serve` serves it too"
        if given is not None or root is not None
        else f"install {NAME} again, from a wheel that holds it"
    )
    raise UsageError(f"no built page in {place}: {remedy}.")


def program() -> str:
    """Return the command `unfrozen` as one types it here.

    Its name where the shell finds it, else its relative path below the current folder, else its
    absolute path; without a script, the interpreter and `-m`.
    """
    script = Path(sys.executable).parent / NAME
    if not script.is_file():
        return f"{_command_path(Path(sys.executable))} -m gpu_runner"
    return _command_path(script)


def pip_install() -> str:
    """Return the command that installs what training needs and the page does not.

    Everything is pinned with its hashes in the wheel's own requirements.txt, except PyTorch, whose
    build depends on the machine.
    """
    if clone() is not None:
        return "`python3 build.py serve` installs it"
    locked = typed(str(package() / "requirements.txt"))
    (torch,) = _requirements("torch")
    return f"{_pip()} --require-hashes --no-deps -r {locked} && {_pip()} '{torch}'"


def pip_extra(name: str) -> str:
    """Return the command that installs the package of this name, an extra of this one."""
    return f"{_pip()} {' '.join(map(repr, _requirements(name)))}"


def _pip() -> str:
    return f"{_command_path(Path(sys.executable))} -m pip install"


def _requirements(name: str) -> list[str]:
    """Return what this package asks for of another: "torch>=2.12"."""
    lines = (line.partition(";")[0].strip() for line in requires(NAME) or ())
    return list(dict.fromkeys(line for line in lines if re.match(rf"{name}\b", line)))


def short(path: Path) -> str:
    """Return a path as one types it in a shell, from home, from the current folder, or absolute,
    whichever is shortest.
    """
    absolute = path.expanduser().absolute()
    spellings = [
        f"{sign}/{typed(str(absolute.relative_to(folder)))}"
        for sign, folder in (("~", Path.home()), (".", Path.cwd()))
        if absolute.is_relative_to(folder)
    ]
    return min([*spellings, typed(str(absolute))], key=len)


def _command_path(file: Path) -> str:
    found = shutil.which(file.name)
    if (found and Path(found).absolute() == file) or _same_script(found, file):
        return file.name
    if file.is_relative_to(Path.cwd()):
        return typed(str(file.relative_to(Path.cwd())))
    return typed(str(file))


def _same_script(found: str | None, file: Path) -> bool:
    """Return whether the shell finds a link to our script, as tool installers make them."""
    return file.name == NAME and found is not None and Path(found).resolve() == file.resolve()

"""How this came to be here: what one types to start it, where its page lies, where runs go.

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
import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from gpu_runner.errors import UsageError

NAME: Final = "unfrozen"
RUNS_ENV: Final = "UNFROZEN_RUNS"
PAGE: Final = "page"  # inside the package, in a wheel
INDEX: Final = "index.html"
SETUP: Final = "training-setup.json"  # in .venv, written and locked by build.py
PIP_STEPS: Final = ("Collecting", "Installing collected")


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """An installation of PyTorch that is going on: its seconds so far and pip's latest line."""

    seconds: float
    doing: str


def training_setup() -> TrainingSetup | None:
    """What `build.py serve` is installing into this environment now; None when it is not.

    The installer holds a lock on the file for as long as it lives, so that one that was killed
    keeps nobody waiting.
    """
    if sys.platform == "win32":  # build.py does not run there
        return None
    import fcntl

    try:
        with (Path(sys.prefix) / SETUP).open() as status:
            try:
                fcntl.flock(status, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_setup(status.read())
    except FileNotFoundError:
        return None
    return None


def _read_setup(text: str) -> TrainingSetup:
    try:
        written = json.loads(text)
        log = Path(written["log"]).read_text("utf-8", "replace").split("\n")
    except (OSError, ValueError):  # it has only just begun
        return TrainingSetup(0.0, "")
    steps = [line.strip() for line in log if line.startswith(PIP_STEPS) or "Downloading" in line]
    return TrainingSetup(time.time() - written["since"], steps[-1][:60] if steps else "")


def wait_for_training_setup() -> None:
    """Return once PyTorch is installed, if it is being installed now; report on it meanwhile."""
    next_report = 0.0
    while (setup := training_setup()) is not None:
        if setup.seconds >= next_report:
            doing = f": {setup.doing}" if setup.doing else ""
            print(
                f"Waiting for PyTorch, which build.py is installing ({setup.seconds:.0f} s{doing})",
                file=sys.stderr,
                flush=True,
            )
            next_report = setup.seconds + 10
        time.sleep(0.5)
    importlib.invalidate_caches()


def installed_version() -> str:
    """The version that pyproject.toml gave this installation; "unknown" where it is none."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "unknown"


def package() -> Path:
    """The folder of this package."""
    return Path(str(files("gpu_runner")))


def clone() -> Path | None:
    """The repository this package runs from; None where it was installed from a wheel."""
    root = package().parent.parent
    return root if (root / "build.py").is_file() and (root / "pyproject.toml").is_file() else None


def runs_folder() -> Path:
    """Where runs are kept when nobody says otherwise."""
    if given := os.environ.get(RUNS_ENV):
        return Path(given).expanduser()
    if (root := clone()) is not None:
        return root / "runs"
    return user_data_path(NAME, appauthor=False) / "runs"


def built_page(given: Path | None) -> Path:
    """The folder of the built page. Raises `UsageError` that says how to make it."""
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
    """`unfrozen` as one types it here: by its name where the shell finds it, by its path from here
    where it is below, else by its whole path; without a script, the interpreter and `-m`.
    """
    script = Path(sys.executable).parent / NAME
    if not script.is_file():
        return f"{_shown(Path(sys.executable))} -m gpu_runner"
    return _shown(script)


def pip_install() -> str:
    """What to type for what a run needs and the page does not."""
    if clone() is not None:
        return "`python3 build.py build` installs it"
    return f"{_shown(Path(sys.executable))} -m pip install '{NAME}[train]'"


def short(path: Path) -> str:
    """A path for a person: from home, from here, or whole, whichever is shortest."""
    absolute = path.expanduser().absolute()
    spellings = [
        f"{sign}/{absolute.relative_to(folder)}"
        for sign, folder in (("~", Path.home()), (".", Path.cwd()))
        if absolute.is_relative_to(folder)
    ]
    return min([*spellings, str(absolute)], key=len)


def _shown(file: Path) -> str:
    found = shutil.which(file.name)
    if (found and Path(found).absolute() == file) or _same_script(found, file):
        return file.name
    if file.is_relative_to(Path.cwd()):
        return shlex.quote(str(file.relative_to(Path.cwd())))
    return shlex.quote(str(file))


def _same_script(found: str | None, file: Path) -> bool:
    """Whether what the shell finds is a link to our script, as tool installers make them."""
    return file.name == NAME and found is not None and Path(found).resolve() == file.resolve()

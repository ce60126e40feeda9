"""What is said of the place where this is installed: its command, its page, its runs."""

import contextlib
import fcntl
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_runner import installed
from gpu_runner.config.load import resolve
from gpu_runner.errors import UsageError
from run_process import ROOT


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as a wheel would lay it down: no repository above it, the page inside."""
    package = tmp_path / "site-packages" / "gpu_runner"
    (package / "page").mkdir(parents=True)
    (package / "page" / "index.html").write_text("x")
    monkeypatch.setattr(installed, "package", lambda: package)
    return package


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with the command in it, which nothing has put on PATH."""
    folder = tmp_path / "my env" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    (folder / "unfrozen").write_text("#!/bin/sh\n")
    (folder / "unfrozen").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    return folder / "unfrozen"


def test_the_command_is_written_as_the_shell_would_find_it(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed.program() == f"'{script}'"
    monkeypatch.chdir(tmp_path)
    assert installed.program() == "'my env/bin/unfrozen'"
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin")
    assert installed.program() == "unfrozen"


def test_a_link_on_the_path_is_the_command_too(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "unfrozen").symlink_to(script)
    monkeypatch.setenv("PATH", str(tmp_path / "links"))
    assert installed.program() == "unfrozen"


def test_without_a_script_the_interpreter_and_the_module_are_reported(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.unlink()
    monkeypatch.setenv("PATH", str(script.parent))
    assert installed.program() == "python -m gpu_runner"


def test_runs_lie_in_the_clone_and_without_one_in_the_users_data_folder(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNFROZEN_RUNS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert installed.clone() is None
    assert installed.runs_folder().is_relative_to(tmp_path)
    assert installed.runs_folder().parts[-2:] == ("unfrozen", "runs")
    monkeypatch.setattr(installed, "package", lambda: ROOT / "py" / "gpu_runner")
    assert installed.clone() == ROOT
    assert installed.runs_folder() == ROOT / "runs"
    assert wheel.is_dir()


def test_the_environment_names_another_folder_of_runs_and_an_option_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNFROZEN_RUNS", str(tmp_path))
    assert installed.runs_folder() == tmp_path
    assert resolve({"model": "demo"}).runs == str(tmp_path)
    assert resolve({"model": "demo", "runs": "elsewhere"}).runs == "elsewhere"


def test_the_page_is_inside_the_package_or_where_one_says(wheel: Path, tmp_path: Path) -> None:
    assert installed.built_page(None) == wheel / "page"
    with pytest.raises(UsageError, match=r"no built page in \S*none: `python3 build.py build`"):
        installed.built_page(tmp_path / "none")
    (wheel / "page" / "index.html").unlink()
    with pytest.raises(UsageError, match="install unfrozen again, from a wheel that holds it"):
        installed.built_page(None)


def test_what_is_missing_to_train_is_installed_as_one_installs_here(
    wheel: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = script.with_name("python")
    pip = f"'{python}' -m pip install"
    locked = wheel / "requirements.txt"
    assert installed.pip_install() == (
        f"{pip} --require-hashes --no-deps -r {locked} && {pip} 'torch>=2.12'"
    )
    monkeypatch.setattr(installed, "package", lambda: ROOT / "py" / "gpu_runner")
    assert installed.pip_install() == "`python3 build.py serve` installs it"
    assert wheel.is_dir()


def test_a_path_is_shown_from_here_or_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert installed.short(tmp_path / "runs") == "./runs"
    (tmp_path / "home").mkdir()
    for here in ("/", tmp_path / "home"):
        monkeypatch.chdir(here)
        assert installed.short(tmp_path / "home" / "runs") == "~/runs"
    assert installed.short(tmp_path / "runs") == str(tmp_path / "runs")


def test_the_version_is_that_of_the_project() -> None:
    import unfrozen
    from site_builder.config import project

    assert unfrozen.__version__ == installed.installed_version() == project().version
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = unfrozen.other


@contextlib.contextmanager
def setup_going_on(folder: Path, log: str) -> Iterator[Path]:
    """`build.py` at work in an environment: its status file, locked, and uv's log."""
    (folder / "uv.log").write_text(log)
    with (folder / installed.SETUP).open("w") as status:
        fcntl.flock(status, fcntl.LOCK_EX)
        json.dump({"since": time.time() - 30, "log": str(folder / "uv.log")}, status)
        status.flush()
        yield folder / installed.SETUP


def test_an_installation_that_is_going_on_is_reported_with_its_latest_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert installed.training_setup() is None
    log = "Resolved 9 packages in 1s\nDownloading torch (858MiB)\n Downloaded nothing yet\n"
    with setup_going_on(tmp_path, log):
        going_on = installed.training_setup()
        assert going_on
        assert going_on.doing == "Downloading torch (858MiB)"
        assert 30 <= going_on.seconds < 60
    assert installed.training_setup() is None  # also where the installer was killed: no lock


def test_a_command_waits_for_an_installation_that_is_going_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with setup_going_on(tmp_path, "Downloading torch (858MiB)\n"):
        waiting = threading.Thread(target=installed.wait_for_training_setup)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join()
    said = capsys.readouterr().err
    assert said.startswith("Waiting for PyTorch, which build.py is installing (30 s: Downloading")

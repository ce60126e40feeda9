"""build.py: done once, done whole, one at a time, and never a traceback."""

import argparse
import ast
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import build

ROOT = build.ROOT


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let build.py's stages work in a folder of their own."""
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "CACHE", tmp_path / ".cache")
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_a_stage_is_done_once_for_the_same_inputs(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    for wanted, expected in [("a", True), ("a", False), ("b", True), ("a", True)]:
        with build.once(stamp, wanted) as needed:
            assert needed is expected


def test_a_stage_that_failed_is_done_again(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    with pytest.raises(KeyError), build.once(stamp, "a"):
        raise KeyError
    with build.once(stamp, "a") as needed:
        assert needed


def test_the_digest_sees_names_and_contents_and_not_caches(elsewhere: Path) -> None:
    (elsewhere / "a").write_text("1")
    first = build.digest(elsewhere)
    (elsewhere / "__pycache__").mkdir()
    (elsewhere / "__pycache__" / "a.pyc").write_text("x")
    (elsewhere / ".hidden").write_text("x")
    assert build.digest(elsewhere) == first
    (elsewhere / "a").rename(elsewhere / "b")
    renamed = build.digest(elsewhere)
    assert renamed != first
    (elsewhere / "b").write_text("2")
    assert build.digest(elsewhere) not in (first, renamed)


def test_a_failed_stage_gives_its_reason_its_remedy_and_its_log(elsewhere: Path) -> None:
    program = "print('ERROR: no such package'); print('and more'); raise SystemExit(3)"
    with pytest.raises(build.BuildError) as refusal:
        build.run_stage("fetching things", [sys.executable, "-c", program], "Go online.")
    assert str(refusal.value) == (
        "fetching things failed: ERROR: no such package. Go online. "
        "(log: .cache/fetching-things.log)"
    )
    assert "and more" in (elsewhere / ".cache" / "fetching-things.log").read_text()


def test_a_long_stage_tells_that_it_still_runs(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "PROGRESS_SECONDS", 0.05)
    build.run_stage("sleeping", [sys.executable, "-c", "import time; time.sleep(0.3)"], "")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["  sleeping …", "  sleeping … 0 s"]
    assert lines[-1].endswith(" s")
    assert elsewhere.is_dir()


def test_a_second_build_waits_for_the_first(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = []

    def second() -> None:
        with build.lock():
            order.append("second")

    with build.lock():
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    assert "waiting for it" in capsys.readouterr().out
    assert elsewhere.is_dir()


def test_the_page_is_served_before_pytorch_is_installed(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "pyproject.toml", elsewhere)
    (elsewhere / ".venv").mkdir()
    served, go_on = elsewhere / "served", elsewhere / "go-on"
    program = (
        f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(.01)"
    )
    monkeypatch.setattr(build, "VENV", elsewhere / ".venv")
    monkeypatch.setattr(build, "site", lambda: elsewhere)
    monkeypatch.setattr(
        build, "install", lambda *_: build.run_stage("waiting", [sys.executable, "-c", program], "")
    )
    monkeypatch.setattr(os, "execv", lambda *_: served.touch())
    with contextlib.suppress(TypeError):  # execv returns here, and never does otherwise
        build.serve(argparse.Namespace(extra=[]))
    assert served.exists()
    assert not build.training_is_installed()
    go_on.touch()
    _, code = os.wait()
    assert code == 0
    assert build.training_is_installed()
    assert "Training is set up: .venv/bin/unfrozen train --model demo" in capfd.readouterr().out


def test_pytorch_that_cannot_be_installed_leaves_the_page_alone(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: str) -> None:
        raise build.BuildError("No network.")

    shutil.copy(ROOT / "pyproject.toml", elsewhere)
    (elsewhere / ".venv").mkdir()
    monkeypatch.setattr(build, "VENV", elsewhere / ".venv")
    monkeypatch.setattr(build, "install", refuse)
    build.install_training_behind()
    _, code = os.wait()
    assert os.waitstatus_to_exitcode(code) == 1
    assert "build.py: No network. The page is not affected." in capfd.readouterr().err
    assert not build.training_is_installed()


def test_a_chromium_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNFROZEN_CHROMIUM", "/nowhere/chromium")
    with pytest.raises(build.BuildError, match=r"/nowhere/chromium has none: install chromium"):
        build.chromium()


def test_uv_looks_where_pip_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://a/simple\ntrusted-host = b\nno-index = true\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_INDEX_URL", "https://b/it's")
    monkeypatch.setenv("PIP_FIND_LINKS", "/x /y")
    monkeypatch.setenv("PIP_CONSTRAINT", "/c.txt")
    hashed = build.pip_settings(["--require-hashes"])
    assert {"--find-links=/x", "--find-links=/y", "--trusted-host=b", "--no-index"} <= {*hashed}
    assert "--constraint=/c.txt" in build.pip_settings([])
    assert "--constraint=/c.txt" not in hashed
    assert [option for option in hashed if "index-url" in option] == ["--index-url=https://b/it's"]


def test_a_missing_chromium_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNFROZEN_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError, match=r"need Chromium and PATH has none"):
        build.chromium()


def test_an_old_python_can_read_build_py_as_far_as_its_refusal() -> None:
    source = (build.ROOT / "build.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        local = isinstance(node, ast.AnnAssign)  # of a local variable: never evaluated
        assert local or not isinstance(annotation, ast.Subscript | ast.BinOp), ast.dump(node)


def old_pythons() -> list[str]:
    """Pythons from 3.6 to 3.10 on this machine that start."""
    found = filter(None, (shutil.which(f"python3.{minor}") for minor in range(6, 11)))
    return [p for p in found if subprocess.run([p, "-c", ""], capture_output=True).returncode == 0]


@pytest.mark.slow
def test_an_old_python_is_refused_in_one_sentence() -> None:
    for program in old_pythons():
        command = [program, str(build.ROOT / "build.py"), "build"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 1
        assert answer.stderr.startswith("build.py: Unfrozen needs Python 3.11 or newer, not 3.")
        assert answer.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    shutil.copy(build.ROOT / "build.py", tmp_path)
    (tmp_path / ".cache").write_text("in the way")
    command = [sys.executable, str(tmp_path / "build.py"), "build"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("build.py: ")
    assert answer.stderr.count("\n") == 1


def test_clean_keeps_the_runs(tmp_path: Path) -> None:
    shutil.copy(build.ROOT / "build.py", tmp_path)
    for name in ("runs/1/events.jsonl", "dist/index.html", ".venv/pyvenv.cfg", ".mypy_cache/x"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    subprocess.run([sys.executable, str(tmp_path / "build.py"), "clean"], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build.py", "runs"]
    assert (tmp_path / "runs" / "1" / "events.jsonl").is_file()


def test_a_site_that_is_up_to_date_is_not_built_again() -> None:
    built = build.site() / "index.html"
    before = built.stat().st_mtime_ns
    build.site()
    assert built.stat().st_mtime_ns == before

"""`unfrozen`: what it says by itself, what it loads, what a shell completes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpu_runner.cli import command_line
from gpu_runner.cli.application import alone
from gpu_runner.cli.options import OPTIONS
from run_process import ROOT, runner

pytestmark = pytest.mark.slow

COMMANDS = (
    *("serve", "plan", "train"),
    *("resume", "export", "push", "ask", "blend", "eval", "doctor"),
    *("selftest", "data", "runs", "check", "report", "mcp", "skill", "import", "publish"),
)
AT_ONCE = "import sys; from gpu_runner.cli.command_line import main\n"
EACH_HELP = f"""
import os
{AT_ONCE}
import gpu_runner.cli.application
for name in {COMMANDS}:
    if os.fork() == 0:
        sys.argv = ["unfrozen", name, "--help"]
        try:
            main()
        finally:
            print("MODULES", *sys.modules, flush=True)
            os._exit(0)
    os.wait()
    print("NEXT", flush=True)
"""


def typed(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`unfrozen …`, by the script that an installation makes."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("unfrozen")), *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **settings},
        check=False,
    )


def told(*words: str) -> str:
    """The same in a process that has the libraries loaded: what it prints."""
    output, _ = runner(*words).communicate()
    return output


def answered(*words: str) -> tuple[str, set[str]]:
    """What `unfrozen …` prints in a process of its own, and the modules that are there then."""
    code = f"{AT_ONCE}sys.argv = {['unfrozen', *words]}\ntry: main()\n"
    code += "finally: print('MODULES', *sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split("MODULES ")[1].split())


def test_bare_it_says_in_ten_lines_what_it_is_and_what_to_type() -> None:
    done = typed()
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= 10
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert not [
        name
        for name in ("serve", "train", "plan", "doctor")
        if f"unfrozen {name}" not in done.stdout
    ]
    assert not [name for name in COMMANDS if name not in done.stdout]
    assert "Runs are in ./runs." in done.stdout


def test_help_names_every_command() -> None:
    text = told("--help")
    assert not [name for name in COMMANDS if f" {name} " not in text]


def test_its_version_is_reported() -> None:
    assert told("--version").startswith("unfrozen 0.")


def test_an_unknown_command_is_named_with_what_to_type() -> None:
    done = typed("teach")
    assert done.returncode == 2
    assert "'teach'" in done.stderr
    assert "unfrozen --help" in done.stderr


def test_a_plan_is_the_planners_and_needs_the_standard_library_alone() -> None:
    job = ["plan", "--model", "Llama-3.1-8B", "--gpu", "H100"]
    done = typed(*job)
    assert "8.03B parameters" in done.stdout
    older = [sys.executable, "-m", "unfrozen", *job]
    assert subprocess.run(older, capture_output=True, text=True).stdout == done.stdout
    assert not answered(*job)[1] & {"typer", "rich", "torch", "starlette", "numpy"}
    refused = typed("plan", "--model", "none")
    assert refused.returncode == 2
    assert refused.stderr.startswith("unfrozen: ")


def test_a_command_explains_itself_without_loading_what_only_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", EACH_HELP], capture_output=True, text=True)
    *printed, _ = done.stdout.split("NEXT\n")
    for name, one in zip(COMMANDS, printed, strict=True):
        text, modules = one.split("MODULES ")
        assert f"unfrozen {name}" in text.lower()
        assert not set(modules.split()) & {"torch", "transformers", "starlette", "pydantic"}, name


def test_the_help_of_train_explains_every_setting() -> None:
    command = alone("train")
    assert command is not None
    wide = CliRunner(env={"COLUMNS": "400"})
    words = " ".join(wide.invoke(command, ["--help"]).output.split())
    for name, (_, help_text, _) in OPTIONS.items():
        assert f"--{name.replace('_', '-')} " in words
        assert " ".join(help_text.rstrip(".").split()) in words, name


def test_a_dry_run_is_what_the_runners_plan_was(tmp_path: Path) -> None:
    text = told("train", "--model", "demo", "--runs", str(tmp_path / "runs"), "--dry-run")
    for part in ("836,736 parameters, all trained", "480 examples", "predicted memory"):
        assert part in text
    assert not (tmp_path / "runs").exists()


def test_a_shell_completes_commands_options_names_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_UNFROZEN_COMPLETE", "complete_bash")

    def completed(line: str) -> list[str]:
        """What a bash with completion offers after `line`."""
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        return told().split("\n")[:-1]

    assert completed("unfrozen ") == list(COMMANDS)
    assert completed("unfrozen train --see") == ["--seed"]
    assert completed("unfrozen plan --mod") == ["--model"]
    assert completed("unfrozen plan --gpu H2") == ["H200", "H20 96GB", "H20 141GB"]
    assert completed("unfrozen plan --solve ") == ["micro_batch", "seq_len", "gpus"]
    assert "Llama-3.1-8B" in completed("unfrozen plan --model Llama-3")
    for name in ("20260101-a", "20260102-a", "other"):
        (tmp_path / name).mkdir()
    line = {"COMP_WORDS": "unfrozen resume 2026", "COMP_CWORD": "2"}
    found = typed(UNFROZEN_RUNS=str(tmp_path), **line)
    assert found.stdout.split() == ["20260102-a", "20260101-a"]


def test_without_pytorch_training_says_what_to_install() -> None:
    code = f"{AT_ONCE}from importlib import util\n"
    code += "find = util.find_spec\n"
    code += "util.find_spec = lambda name: None if name == 'torch' else find(name)\n"
    code += "main(['train', '--model', 'demo'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 10
    said = " ".join(done.stderr.split())
    assert (
        said == "Error: this needs torch, not installed here: `python3 build.py serve` installs it"
    )


def test_the_welcome_is_in_the_words_of_this_installation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpu_runner.installed.program", lambda: "here/unfrozen")
    assert "\n  here/unfrozen serve  " in command_line.welcome()

"""The launch files of docs/, run with stand-ins that behave as the references of all three say.

Slurm (man pages of sbatch, srun and scontrol, 25.11): srun does not inherit --cpus-per-task; with
--signal every process of a step is signalled and the batch script is not; srun returns the highest
exit code of its tasks; afterok asks for 0, and a requeued job keeps its id. SkyPilot (managed
jobs): a machine that is lost takes its disk along. rclone: a file is there once it is whole; `sync`
removes what the source has not, and exits with 3 where the source is not there.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import tiny_llama
from gpu_runner import cluster as launch
from gpu_runner.errors import ExitCode
from run_process import ROOT, call_main, children, events, last_step, losses, runner

LAUNCH = ROOT / "docs" / "launch"

SRUN = """
import os, subprocess, sys
assert os.environ["SRUN_CPUS_PER_TASK"] == "2", "the tasks share one core"
task = subprocess.Popen(sys.argv[1:], start_new_session=True)
open(os.environ["STEP"], "w").write(str(task.pid))
sys.exit(max(task.wait(), 0))
"""
SCONTROL = """
import os, sys
if sys.argv[1] == "hostnames" or sys.argv[1:2] == ["show"]:
    print("localhost")
else:
    open(os.environ["SAID"], "a").write(" ".join(sys.argv[1:]) + "\\n")
"""
RCLONE = """
import os, pathlib, shutil, sys
def whole(one, two):
    os.replace(shutil.copyfile(one, f"{two}.partial"), two)
source, place = map(pathlib.Path, (a for a in sys.argv[2:] if a[0] == "/"))
if not source.exists():
    sys.exit(3)
sync = sys.argv[1] == "sync"
assert sync == ("--exclude .* --exclude .*/**" in " ".join(sys.argv))
hidden = shutil.ignore_patterns(".*") if sync else None
try:
    shutil.copytree(source, place, dirs_exist_ok=True, ignore=hidden, copy_function=whole)
except shutil.Error:  # of what was removed meanwhile
    sys.exit(1)
for path in sorted(place.rglob("*"), reverse=True) if sync else ():
    if not (source / path.relative_to(place)).exists():
        path.rmdir() if path.is_dir() else path.unlink()
"""


def put(place: Path, name: str, text: str) -> Path:
    """Write a program in Python that stands in for another."""
    place.mkdir(exist_ok=True)
    (place / name).write_text(f"#!{sys.executable}{text}")
    (place / name).chmod(0o700)
    return place / name


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The environment of a script: our Python, and nothing of where it runs."""
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"PATH": path, "PYTHONPATH": str(ROOT / "py"), "HOME": str(tmp_path / "home")}


def rows(place: Path, count: int) -> str:
    return str(tiny_llama.write_rows(place, tiny_llama.sums(count)))


def wait(ready: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not ready():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.02)


def begin(command: list[str], settings: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=settings,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def the_run(runs: Path) -> Path | None:
    found = launch.newest(runs)
    return found if found is not None and (found / "events.jsonl").exists() else None


@pytest.mark.slow
def test_a_slurm_job_out_of_time_saves_is_requeued_and_goes_on(
    model_dir: Path, tmp_path: Path, settings: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        put(tmp_path / "bin", name, text)
    step, said, runs = tmp_path / "step", tmp_path / "said", tmp_path / "runs"
    settings |= {"SLURM_JOB_NAME": "x", "SLURM_JOB_ID": "7", "SLURM_NNODES": "1"}
    settings |= {"SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_NODELIST": "localhost"}
    settings |= {"SLURM_CPUS_PER_TASK": "2", "PYTHON": sys.executable, "RUNS": str(runs)}
    settings |= {"MODEL": str(model_dir), "DATA": rows(tmp_path / "rows.jsonl", 128 * 7)}
    settings |= {"STEP": str(step), "SAID": str(said)}
    script = [str(LAUNCH / "slurm.sh")]

    job = begin(script, settings)
    wait(lambda: (run := the_run(runs)) and last_step(run) >= 1, job)
    task = psutil.Process(int(step.read_text()))
    for _ in range(2):  # before its time is over, and when it is
        for one in (task, *task.children(recursive=True)):
            one.send_signal(signal.SIGTERM)
    output, _ = job.communicate()
    assert job.returncode == ExitCode.STOPPED, output
    assert said.read_text() == "requeue 7\n"
    assert "Traceback" not in output
    run = the_run(runs)
    assert run is not None
    assert events(run)[-1]["status"] == "stopped"

    words: list[str] = []
    again = ["--runs", str(runs), "--standalone", "--", "--model", str(model_dir)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_torchrun", lambda given: words.extend(given) or ExitCode.OK)
        assert launch.main(again) == ExitCode.OK
    assert words == ["--standalone", "-m", "gpu_runner", "resume", str(run)]
    second = runner(*words[3:])
    output, _ = second.communicate()
    assert second.returncode == 0, output
    assert events(run)[-1]["status"] == "finished"
    assert len(losses(run)) == events(run)[-1]["step"]
    assert launch.main(again) == 0
    assert "is finished: there is nothing to do" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.matrix
def test_a_lost_machine_leaves_a_copy_from_which_the_next_one_goes_on(
    model_dir: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    copy = tmp_path / "copy"
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text("utf-8"))
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [ExitCode.STOPPED]
    run_script = task["run"].replace("sleep 60", "sleep 0.2")
    run_script = run_script.replace(".venv/bin/python", sys.executable)
    run_script = run_script.replace(
        ".venv/bin/rclone", str(put(tmp_path / "bin", "rclone", RCLONE))
    )
    run_script = run_script.replace("--micro-batch", "--save-every 50 --micro-batch")
    settings |= {"REMOTE": str(copy)}
    settings |= {"SKYPILOT_NUM_GPUS_PER_NODE": "1", "MODEL": str(model_dir)}
    settings |= {"DATA": rows(tmp_path / "rows.jsonl", 1600)}
    script = ["bash", "-c", run_script]

    machine = begin(script, settings)
    wait(lambda: list(copy.glob("*/checkpoints/*/manifest.json")), machine)
    for one in (*psutil.Process(machine.pid).children(recursive=True), machine):
        one.send_signal(signal.SIGKILL)
    machine.communicate()
    (tmp_path / "home").rename(tmp_path / "lost")

    output = ""
    for _ in range(2):  # the second one finds it done
        another = begin(script, settings)
        output, _ = another.communicate()
        assert another.returncode == 0, output
    assert "is finished: there is nothing to do" in output
    (run,) = copy.iterdir()
    resumed = [event["from_step"] for event in events(run) if event["kind"] == "run.resume"]
    assert len(resumed) == 1
    assert resumed[0] in range(50, last_step(run), 50)
    assert events(run)[-1]["status"] == "finished"
    assert losses(run)  # of a step that was taken on both machines, both say the same
    assert (run / "model" / "model.safetensors").exists()
    assert (run / "finished").exists()


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_run_and_not_of_torchrun(tmp_path: Path) -> None:
    words = ["--runs", str(tmp_path / "runs"), "--standalone", "--", "--lr", "high"]
    given = (str(tmp_path / "said"), "gpu_runner.cluster", words)
    done = children().Process(target=call_main, args=(given,))
    done.start()
    done.join()
    output = (tmp_path / "said").read_text("utf-8")
    assert done.exitcode == ExitCode.USAGE, output
    assert f"Process 0 of the run ended with exit code {done.exitcode}: " in output


@pytest.mark.slow
@pytest.mark.matrix
def test_a_process_that_is_killed_ends_the_run_of_a_scheduler_in_seconds(
    model_dir: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "gpu_runner.cluster", "--runs", str(runs), "--standalone"]
    command += ["--nproc-per-node", "2", "--", "--model", str(model_dir), "--steps", "4000"]
    command += ["--data", rows(tmp_path / "rows.jsonl", 40), "--general", "none"]
    job = begin(command, os.environ | settings | {"OMP_NUM_THREADS": "1"})
    wait(lambda: (run := the_run(runs)) and last_step(run) >= 2, job)
    started = psutil.Process(job.pid).children(recursive=True)
    (victim,) = (one for one in started if one.environ().get("RANK") == "1")
    victim.kill()
    began = time.monotonic()
    output, _ = job.communicate()
    assert time.monotonic() - began < 60  # not the 900 s that processes may take to save
    assert job.returncode == 128 + signal.SIGKILL, output
    run = the_run(runs)
    assert run is not None
    end = events(run)[-1]
    assert (end["kind"], end["status"]) == ("run.end", "failed")
    assert "process 1 of 2 ended without a word" in end["reason"]
    assert "process 1 of 2 ended without a word" in output


@pytest.mark.parametrize(
    ("train", "again"),
    [
        (["--lr", "1"], []),
        (["--out", "a", "--lr", "1"], ["--out", "a"]),
        (["--out=a", "--lr=1", "--out=b"], ["--out=b"]),
    ],
)
def test_a_run_that_goes_on_is_told_again_where_its_model_goes(
    train: list[str], again: list[str]
) -> None:
    assert launch.output_option(train) == again

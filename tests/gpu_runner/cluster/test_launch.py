"""The launch files of docs/, run with stand-ins that behave as the references of both say.

Slurm (man pages of sbatch, srun and scontrol, 25.11): srun does not inherit --cpus-per-task; with
--signal every process of a step is signalled and the batch script is not; srun returns the highest
exit code of its tasks; afterok asks for 0, and a requeued job keeps its id. SkyPilot (managed jobs,
storage): a mounted bucket takes no appends and no writes in the middle, and shows a file once it is
closed; a machine that is lost takes its disk along.
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
from gpu_runner.cluster import __main__ as launch
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
BUCKET = """
import os, sys

def hear(event, arguments):
    path = str(arguments[0]) if arguments else ""
    if not path.startswith(os.environ["BUCKET_PLACE"]):
        return
    if event == "open":
        appends = isinstance(arguments[2], int) and arguments[2] & os.O_APPEND
        inside = "+" in str(arguments[1]) or "a" in str(arguments[1])
        if appends or inside:
            raise OSError(95, "Operation not supported", path)
    elif event in ("os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod"):
        raise OSError(95, "Operation not supported", path)

sys.addaudithook(hear)
"""


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
    (tmp_path / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(f"#!{sys.executable}{text}")
        (tmp_path / "bin" / name).chmod(0o700)
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
def test_a_lost_machine_leaves_a_bucket_from_which_the_next_one_goes_on(
    model_dir: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    bucket, guard = tmp_path / "bucket", tmp_path / "guard"
    bucket.mkdir()
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(BUCKET)
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text("utf-8"))
    assert task["file_mounts"]["/bucket"]["mode"] == "MOUNT"
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [ExitCode.STOPPED]
    run_script = task["run"].replace("/bucket", str(bucket))
    run_script = run_script.replace(".venv/bin/python", sys.executable)
    run_script = run_script.replace("--standalone", "--copy-every 0.2 --standalone")
    run_script = run_script.replace("--micro-batch", "--save-every 50 --micro-batch")
    settings |= {"PYTHONPATH": f"{guard}:{ROOT / 'py'}", "BUCKET_PLACE": str(bucket)}
    settings |= {"SKYPILOT_NUM_GPUS_PER_NODE": "1", "MODEL": str(model_dir)}
    settings |= {"DATA": rows(tmp_path / "rows.jsonl", 1600)}
    script = ["bash", "-c", run_script]

    machine = begin(script, settings)
    wait(lambda: list(bucket.glob("*/checkpoints/*/manifest.json")), machine)
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
    (run,) = bucket.iterdir()
    resumed = [event["from_step"] for event in events(run) if event["kind"] == "run.resume"]
    assert len(resumed) == 1
    assert resumed[0] in range(50, last_step(run), 50)
    assert events(run)[-1]["status"] == "finished"
    assert losses(run)  # of a step that was taken on both machines, both say the same
    assert (run / "model" / "model.safetensors").exists()
    assert (run / "finished").exists()


def test_a_bucket_is_refused_where_each_machine_would_have_its_own_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--runs", str(tmp_path), "--bucket", str(tmp_path), "--nnodes", "2", "--"]
    assert launch.main(words) == ExitCode.USAGE
    assert "--bucket with --nnodes 2: each machine" in capsys.readouterr().err


def test_a_bucket_that_is_not_there_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    run = tmp_path / "runs" / "20260101-000000-abcd"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    words = ["--runs", str(run.parent), "--bucket", str(tmp_path / "file"), "--standalone"]
    assert launch.main(words) == ExitCode.SYSTEM
    assert "no copy of the run can be kept there" in capsys.readouterr().err


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_run_and_not_of_torchrun(tmp_path: Path) -> None:
    words = ["--runs", str(tmp_path / "runs"), "--standalone", "--", "--lr", "high"]
    given = (str(tmp_path / "said"), "gpu_runner.cluster.__main__", words)
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

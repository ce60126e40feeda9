"""docs/scale.md and its files: scripts parse, options exist, the table is the planner's."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from docs import scaling_table
from gpu_runner.cli.options import OPTIONS

LAUNCH = scaling_table.PAGE.parent / "launch"
SLURM = LAUNCH / "slurm.sh"

# https://docs.skypilot.co/en/latest/reference/yaml-spec.html
TASK_KEYS = {
    *("name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "volumes"),
    *("setup", "run", "config", "service"),
}
RESOURCE_KEYS = {
    *("infra", "accelerators", "accelerator_args", "cpus", "memory", "instance_type", "use_spot"),
    *("disk_size", "disk_tier", "network_tier", "image_id", "ports", "labels", "autostop"),
    *("any_of", "ordered", "job_recovery", "max_hourly_cost"),
}
# https://docs.skypilot.co/en/stable/running-jobs/environment-variables.html
SKYPILOT_VARIABLES = {
    *("SKYPILOT_NODE_RANK", "SKYPILOT_NODE_IPS", "SKYPILOT_NUM_NODES"),
    *("SKYPILOT_NUM_GPUS_PER_NODE", "SKYPILOT_TASK_ID", "SKYPILOT_CLUSTER_INFO"),
}


@pytest.fixture(scope="module")
def task() -> dict[str, Any]:
    found = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def lint(script: str) -> None:
    """What bash, and shellcheck where it is installed, say of a script: nothing."""
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    if shutil.which("shellcheck"):
        command = ["shellcheck", "--shell=bash", "--severity=warning", "-"]
        checked = subprocess.run(command, input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stdout


def test_the_slurm_script_is_sound() -> None:
    lint(SLURM.read_text("utf-8"))
    assert SLURM.stat().st_mode & 0o100


def test_slurm_reads_its_directives_before_the_first_command() -> None:
    lines = SLURM.read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line for line in lines[:first] if line.startswith("#SBATCH")]
    assert not [line for line in directives if not re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line)]
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]
    assert "#SBATCH --ntasks-per-node=1" in directives
    assert any(line.startswith("#SBATCH --signal=TERM@") for line in directives)


def test_the_skypilot_task_has_only_documented_keys(task: dict[str, Any]) -> None:
    assert task.keys() <= TASK_KEYS
    resources = task["resources"]
    assert resources.keys() <= RESOURCE_KEYS
    assert not [one for one in resources["any_of"] if not one.keys() <= RESOURCE_KEYS]
    assert isinstance(task["num_nodes"], int)


def test_the_skypilot_commands_are_sound_and_know_their_variables(task: dict[str, Any]) -> None:
    lint(task["setup"])
    lint(task["run"])
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", task["run"]))
    assert used <= SKYPILOT_VARIABLES | task["envs"].keys() | {"OMP_NUM_THREADS", "HOME"}


@pytest.mark.parametrize("file", ["slurm.sh", "skypilot.yaml"])
def test_every_option_of_a_launch_file_is_one_of_the_runner(file: str) -> None:
    text = (LAUNCH / file).read_text("utf-8")
    (block,) = re.findall(r"TRAIN=\((.*?)\n\)|\n    -- (.*)", text, re.DOTALL)
    options = re.findall(r"--([a-z-]+)", "".join(block))
    assert len(options) >= 4
    assert {option.replace("-", "_") for option in options} <= OPTIONS.keys()


def test_the_scaling_table_is_what_the_planner_says() -> None:
    page = scaling_table.PAGE.read_text("utf-8")
    assert scaling_table.placed(page) == page, "run docs/scaling_table.py --write"
    for gpus in scaling_table.GPU_COUNTS:
        assert page.count(f"\n| {gpus:,} | ") == len(scaling_table.MODELS)


def test_more_gpus_hold_less_each_and_never_wait_less_at_the_same_micro_batch() -> None:
    from unfrozen.plan import plan_job
    from unfrozen.plan.step_time import step_time

    jobs = [scaling_table.job("Llama-3.1-8B", gpus) for gpus in scaling_table.GPU_COUNTS]
    held = [plan_job(job).device_bytes for job in jobs]
    assert held == sorted(held, reverse=True)
    waiting = [scaling_table.share(step_time(job)) for job in jobs]
    assert waiting[0] == 0
    assert waiting[-1] == max(waiting)

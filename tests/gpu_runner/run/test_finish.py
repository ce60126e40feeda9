"""What is said at the end of a run: of steps that did better, and of how to go on."""

import errno
import os
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpu_runner.address import Address, published
from gpu_runner.checkpoint.training_state import History
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import OutOfMemory, is_out_of_memory
from gpu_runner.installed import program
from gpu_runner.memory.out_of_memory import OutOfMemoryReport
from gpu_runner.model.load import find
from gpu_runner.plan import plan
from gpu_runner.run.checkpointer import Standing
from gpu_runner.run.finish import RunEnd, describe_load_failure, end_by_error, summarize
from gpu_runner.train.loop import State
from unfrozen.units import format_bytes


def test_a_better_step_is_named(model_dir: Path, sums_file: Path, tmp_path: Path) -> None:
    planned = plan.make_plan(resolve({"model": str(model_dir), "data": str(sums_file), "steps": 2}))
    kept = tmp_path / "checkpoints" / "step-1000000"
    end = RunEnd("finished", "done", model=tmp_path / "model", better=[Standing(kept, 0.5, True)])
    said = summarize(end, planned, tmp_path, State(), History()).next_steps
    assert f"Step 1000000 had a lower task loss (0.500): its weights are in {kept}." in said


def test_of_a_better_step_in_shards_it_is_reported_how_it_becomes_a_model(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    planned = plan.make_plan(resolve({"model": str(model_dir), "data": str(sums_file), "steps": 2}))
    kept = tmp_path / "checkpoints" / "step-000004"
    (kept / "weights").mkdir(parents=True)
    end = RunEnd("finished", "done", model=tmp_path / "model", better=[Standing(kept, 0.5, True)])
    said = " ".join(summarize(end, planned, tmp_path, State(), History()).next_steps)
    assert f"its weights are in {kept}; to make a model of them: " in said
    assert f"export {tmp_path.name} --to hf --step 4 --runs {tmp_path.parent}" in said


def test_the_page_is_named_that_is_served_already(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    planned = plan.make_plan(resolve({"model": str(model_dir), "data": str(sums_file), "steps": 2}))
    run, end = tmp_path / "one", RunEnd("finished", "done", model=tmp_path / "model")

    def said() -> str:
        return summarize(end, planned, run, State(), History()).next_steps[-1]

    assert said() == f"To see it in the page: {program()} serve --runs {tmp_path}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = Address(f"http://127.0.0.1:{listener.getsockname()[1]}", "0" * 32, os.getpid())
        with published(tmp_path, served):
            assert said() == f"To see it in the page: {served.run('one')}"


@pytest.mark.slow
def test_what_lies_on_the_disk_is_said_and_goes_by_the_command_that_is_printed(
    shared_config: TrainConfig, finished: Path
) -> None:
    end = RunEnd("finished", "done", model=finished / "model", step=6)
    (finished / "initial.safetensors").write_bytes(bytes(2048))
    planned = plan.make_plan(shared_config)

    def said() -> str:
        return " ".join(summarize(end, planned, finished, State(), History()).next_steps)

    checkpoint = sum(f.stat().st_size for f in (finished / "checkpoints").rglob("*") if f.is_file())
    size = f"the last checkpoint {format_bytes(checkpoint)}, the pre-trained weights 2.00 KiB."
    assert size in said()
    last = finished / "checkpoints" / "step-000006"
    earlier = Path(shutil.copytree(last, last.with_name("step-000003")))
    assert "2 checkpoints " in said()
    shutil.rmtree(earlier)
    command = said().split("to remove the rest: ")[1].split(" To see it")[0]
    subprocess.run(command, shell=True, check=True)
    assert sorted(path.name for path in finished.iterdir() if path.is_dir()) == ["model"]
    assert not (finished / "initial.safetensors").exists()
    assert find(str(finished / "model")).kind == "directory"
    assert "On disk" not in said()
    better = replace(end, better=[_better(finished)])
    text = " ".join(summarize(better, planned, finished, State(), History()).next_steps)
    assert "rm -r" not in text  # what did better stays


def _better(run: Path) -> Standing:
    kept = run / "checkpoints" / "step-000003"
    kept.mkdir(parents=True, exist_ok=True)
    return Standing(kept, 0.5, True)


def test_a_model_that_did_not_load_is_reported_with_its_size_and_what_was_free(
    model_dir: Path, sums_file: Path
) -> None:
    planned = plan.make_plan(resolve({"model": str(model_dir), "data": str(sums_file), "steps": 2}))
    said = describe_load_failure(replace(planned, available_bytes=2**10))
    assert said == (
        "out of memory before the first step: model in fp32 takes 106 KiB, and 1.00 KiB were free."
        " Give --params bf16 --rounding stochastic, a smaller model, or more memory."
    )


def test_an_examination_that_fails_itself_leaves_the_message_and_the_way_on(
    model_dir: Path, sums_file: Path
) -> None:
    planned = plan.make_plan(resolve({"model": str(model_dir), "data": str(sums_file), "steps": 2}))

    def examine(error: BaseException) -> OutOfMemoryReport:
        raise MemoryError from error

    end = end_by_error(MemoryError("no room\nat all"), planned, examine)
    assert (end.status, end.post_mortem) == ("oom", None)
    assert isinstance(end.error, OutOfMemory)
    assert end.reason.startswith(
        "out of memory (no room); finding out why failed too (MemoryError)."
    )
    assert end.reason.endswith("Lower --micro-batch or --seq-len.")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"
        ),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("NCCL error: Last error: Cuda failure 2 'out of memory'"),
        torch.OutOfMemoryError("HIP out of memory"),
    ],
)
def test_every_way_to_say_that_there_is_no_memory_is_known(error: BaseException) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError(str(error)))

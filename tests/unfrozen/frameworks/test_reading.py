"""Files and commands of trainers read as jobs: each command that is written is read as its job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conftest import matrix
from unfrozen.frameworks.reading import read_job
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job

from .test_registry import ADAPTERS, job, taken

READ = ("torchtitan", "accelerate", "deepspeed", "axolotl", "llama-factory")


def no_file(_: str) -> None:
    """Nothing is beside a command that is read."""


def read_back(name: str, one: Job) -> Job:
    text = FRAMEWORKS[name].command(one, {"MODEL": "Qwen/Qwen2.5-7B"})
    found = read_job("train.sh", text, no_file)
    assert found.read is not None
    assert not found.read["unknown"], text
    model = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100"}
    return replace(Job.read(found.job | model), framework=None)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("gpus", matrix([1, 4, 16], 4))
@pytest.mark.parametrize("kernels", matrix(["fused", "eager"], "fused"))
def test_a_written_command_is_read_as_its_job(name: str, gpus: int, kernels: str) -> None:
    count = 0
    for one in taken(name, job(kernels=kernels), gpus):
        again = read_back(name, one)
        assert again == one, FRAMEWORKS[name].command(one)
        count += 1
    assert count >= 2


@pytest.mark.parametrize("name", [name for name in READ if name != "torchtitan"])
@pytest.mark.parametrize("gpus", [1, 4])
def test_adapters_are_read_as_they_are_written(name: str, gpus: int) -> None:
    for recipe in ADAPTERS:
        for one in taken(name, job(**recipe), gpus):
            assert read_back(name, one) == one, FRAMEWORKS[name].command(one)

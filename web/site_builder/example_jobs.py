"""Jobs that several chapters or diagrams use as their example."""

from __future__ import annotations

from typing import Final

from unfrozen.job import Job
from unfrozen.memory.overhead import ROUNDING
from unfrozen.model.catalogue import find
from unfrozen.plan.compute import estimate

SECOND_STEP_OOM: Final = {
    "model": find("meta-llama/Llama-3.2-1B").config,
    "recipe": {"micro_batch": 2, "seq_len": 2048},
    "gpu": "RTX 4090",
}
"""Its first step fits the GPU; its second, with optimizer states, does not."""

PROJECT: Final = {
    "model": find("meta-llama/Llama-3.1-8B").config,
    "recipe": {"micro_batch": 1, "seq_len": 4096, "grad_accum": 4, "attention": "flash"},
    "cluster": {"gpus": 8, "sharding": "zero3"},
    "gpu": "A100-80GB",
}
"""The project that the article follows from chapter to chapter: all of Llama-3.1-8B."""
EXAMPLES: Final = 40_000
TOKENS: Final = 10e6
"""The project's data: examples, and their tokens in one epoch."""


def tensor_room_bytes(job: Job) -> float:
    """Return the bytes left for tensors on the job's GPU, after CUDA's context and rounding."""
    assert job.gpu is not None
    return (job.gpu.capacity_bytes - job.gpu.context_bytes) / (1 + ROUNDING)


def project_hours(tokens: float) -> float:
    """Return how many hours the project's GPUs take to train on so many tokens."""
    return estimate(Job.read(PROJECT), tokens).seconds / 3600

"""Jobs that more than one chapter speaks of."""

from __future__ import annotations

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.compute import estimate


def hours_on_eight_a100s(tokens: float) -> float:
    """How long Llama-2-7B takes for so many tokens on eight A100s that share out everything."""
    job = {
        "model": CATALOGUE["meta-llama/Llama-2-7b-hf"].config,
        "recipe": {"micro_batch": 4, "attention": "flash"},
        "cluster": {"gpus": 8, "sharding": "zero3"},
        "gpu": "A100-80GB",
    }
    return estimate(Job.read(job), tokens).seconds / 3600

"""A job: which model, trained how, on what; the one input of `python -m unfrozen plan`.

    {"model": {a Hugging Face config.json}, "recipe": {…}, "cluster": {…}, "gpu": "A100-80GB"}

Only `model` is needed. `recipe` and `cluster` document their keys and defaults; `gpu` names a card
of `unfrozen.gpus`, and without it the question whether the job fits has no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from unfrozen.cluster import Cluster
from unfrozen.errors import ModelError, PlanError
from unfrozen.gpus import Gpu, find
from unfrozen.model import ModelConfig
from unfrozen.recipe import Recipe

KEYS: Final = ("model", "recipe", "cluster", "gpu")


@dataclass(frozen=True, slots=True)
class Job:
    """One question to the planner."""

    model: ModelConfig
    recipe: Recipe
    cluster: Cluster
    gpu: Gpu | None = None

    @classmethod
    def read(cls, given: object) -> Job:
        """Check and read plain data. Raises PlanError with key, value, bound and remedy."""
        if not isinstance(given, Mapping):
            raise PlanError("job", given, "it must be an object", 'give {"model": {…}}')
        for key, value in given.items():
            if key not in KEYS:
                raise PlanError(str(key), value, f"known keys are {', '.join(KEYS)}", "drop it")
        if "model" not in given:
            raise PlanError("model", "nothing", "a job needs a model", "give its config.json")
        job = cls(
            _model(given["model"]),
            Recipe.read(given.get("recipe") or {}),
            Cluster.read(given.get("cluster") or {}),
            _gpu(given.get("gpu")),
        )
        _check_dtype(job)
        return job


def _model(given: object) -> ModelConfig:
    try:
        return ModelConfig.from_hf(given)  # type: ignore[arg-type]
    except ModelError as error:
        key = error.key if error.key == "model" else f"model.{error.key}"
        raise PlanError(key, error.value, error.bound, error.remedy) from None


def _gpu(given: object) -> Gpu | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise PlanError("gpu", given, "it must be the name of a card", 'for example "A100-80GB"')
    return find(given)


def _check_dtype(job: Job) -> None:
    recipe = job.recipe
    if job.gpu is None or job.gpu.bf16:
        return
    for key in ("params", "compute", "grads", "moments"):
        if getattr(recipe, key) == "bf16":
            bound = f"the {job.gpu.name} has no bf16"
            raise PlanError(f"recipe.{key}", "bf16", bound, "use fp16 or fp32")

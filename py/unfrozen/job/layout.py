"""The layers of each pipeline stage.

A pipeline of p ranks cuts the layers into stages, one after another. Where each rank holds several,
"interleaved" gives rank r the stages r, r + p, r + 2p … (Narayanan et al., arXiv 2104.04473,
section 2.2).

Layers are divided evenly where possible, as Megatron-LM demands (`megatron/core/transformer/
transformer_block.py`, `get_num_layers_to_build`). Where they do not, embedding and head count as a
layer each and the first stages get what is left over: torchtitan's rule (`torchtitan/distributed/
pipeline_parallel.py`, `generate_llm_fqn_per_model_part`), unless it leaves a stage without one.
"""

from __future__ import annotations

from functools import lru_cache

from unfrozen.errors import PlanError
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.model import ModelConfig

Layers = tuple[int, ...]


@lru_cache(maxsize=1024)
def stage_layers(layers: int, cluster: Cluster) -> tuple[Layers, ...]:
    """Return the layer indices of each stage, first to last; of `layers` in all."""
    counts = cluster.pipeline_layers or _dealt(layers, cluster.stages)
    ends = [sum(counts[: index + 1]) for index in range(len(counts))]
    return tuple(tuple(range(end - count, end)) for end, count in zip(ends, counts, strict=True))


def stages_of(rank: int, cluster: Cluster) -> tuple[int, ...]:
    """Return the stages of a pipeline rank, in the order in which a micro-batch reaches them."""
    ranks = cluster.pipeline_parallel
    if ranks == 1:
        return (0,)
    return tuple(rank + ranks * chunk for chunk in range(cluster.chunks))


def check_layout(model: ModelConfig, recipe: Recipe, cluster: Cluster) -> None:
    """Raises PlanError where a model, or its micro-batches, cannot be divided like this."""
    if cluster.pipeline_parallel > 1:
        _check_stages(model.architecture.layers, cluster)
        _check_micro_batches(recipe, cluster)
    _check_experts(model, cluster)


def _dealt(layers: int, stages: int) -> tuple[int, ...]:
    ends = 1 if layers % stages and layers + 2 >= 2 * stages else 0
    each, extra = divmod(layers + 2 * ends, stages)
    counts = [each + (index < extra) for index in range(stages)]
    counts[0] -= ends
    counts[-1] -= ends
    return tuple(counts)


@lru_cache(maxsize=4096)
def _check_stages(layers: int, cluster: Cluster) -> None:
    given, stages = cluster.pipeline_layers, cluster.stages
    if given is not None and sum(given) != layers:
        bound = f"the model has {layers} layers, and these are {sum(given)}"
        raise PlanError("cluster.pipeline_layers", list(given), bound, "make them add up")
    if given is None and stages > layers:
        bound = f"{stages} stages for {layers} layers"
        remedy = "use fewer ranks, or fewer chunks"
        raise PlanError("cluster.pipeline_parallel", cluster.pipeline_parallel, bound, remedy)
    counts = [len(held) for held in stage_layers(layers, cluster)]
    for rank in range(cluster.pipeline_parallel):
        if not sum(counts[stage] for stage in stages_of(rank, cluster)):
            bound = f"rank {rank} of the pipeline has no layer"
            remedy = "give each at least one"
            raise PlanError("cluster.pipeline_layers", counts, bound, remedy)


def _check_micro_batches(recipe: Recipe, cluster: Cluster) -> None:
    """Interleaved schedules run rounds of as many micro-batches as there are ranks, or more, all
    rounds alike (`torch/distributed/pipelining/schedules.py`, 2.13).
    """
    ranks, count = cluster.pipeline_parallel, recipe.grad_accum
    if recipe.optimizer_in_backward:
        bound = "a pipeline updates its weights after the last micro-batch"
        raise PlanError("recipe.optimizer_in_backward", True, bound, "set it to false")
    if cluster.chunks > 1 and count % max(1, count // ranks):
        bound = f"with several stages a rank they pass in {count // ranks} rounds of equal size"
        raise PlanError("recipe.grad_accum", count, bound, f"use a multiple of {ranks}")


def _check_experts(model: ModelConfig, cluster: Cluster) -> None:
    experts, ranks = model.architecture.experts, cluster.expert_parallel
    own = cluster.expert_tensor_parallel
    if experts is None:
        for key, value in (("expert_parallel", ranks), ("expert_tensor_parallel", own or 1)):
            if value > 1:
                bound = f"{model.architecture.model_type} has no experts"
                raise PlanError(f"cluster.{key}", value, bound, "drop it")
        return
    if experts.count % ranks:
        bound = f"it must divide the {experts.count} experts of a layer"
        raise PlanError("cluster.expert_parallel", ranks, bound, "use a divisor of it")
    if own and experts.ffn % own:
        bound = f"it must divide the width of an expert, {experts.ffn}"
        raise PlanError("cluster.expert_tensor_parallel", own, bound, "use a divisor of it")

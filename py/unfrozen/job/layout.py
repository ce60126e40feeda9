"""The layers of each pipeline stage, and of each GPU of a device map.

A pipeline of p ranks cuts the layers into stages, one after another. Where each rank holds several,
"interleaved" gives rank r the stages r, r + p, r + 2p … (Narayanan et al., arXiv 2104.04473,
section 2.2), and schedules that work from both ends give it r and 2p − 1 − r (Qi et al., arXiv
2405.15362, figure 2; DualPipeV). DualPipe has p stages, each on two ranks: r and p − 1 − r.

Layers are divided evenly where possible, as Megatron-LM demands (`megatron/core/transformer/
transformer_block.py`, `get_num_layers_to_build`). Where they do not, embedding and head count as a
layer each and the first stages get what is left over: torchtitan's rule (`torchtitan/distributed/
pipeline_parallel.py`, `generate_llm_fqn_per_model_part`), unless it leaves a stage without one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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
    ranks, last = cluster.pipeline_parallel, cluster.stages - 1
    if ranks == 1:
        return (0,)
    if cluster.pipeline_schedule in ("zb_v", "dualpipe_v", "dualpipe"):
        return min(rank, last - rank), max(rank, last - rank)
    return tuple(rank + ranks * chunk for chunk in range(cluster.chunks))


def check_layout(model: ModelConfig, recipe: Recipe, cluster: Cluster) -> None:
    """Raises PlanError where a model, or its micro-batches, cannot be divided like this."""
    if cluster.pipeline_parallel > 1:
        _check_stages(model.architecture.layers, cluster)
        _check_micro_batches(recipe, cluster)
    if cluster.device_map and cluster.gpus > model.architecture.layers:
        bound = f"each needs one of the {model.architecture.layers} layers"
        raise PlanError("cluster.gpus", cluster.gpus, bound, "use fewer GPUs")
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
    """The schedules' own demands, as PyTorch and DeepSeek state them.

    `torch/distributed/pipelining/schedules.py` (2.13): interleaved ones run rounds of as many
    micro-batches as there are ranks, or more, all rounds alike. DualPipe (`dualpipe/dualpipe.py`,
    `dualpipev.py`): at least two micro-batches a rank, and DualPipe half of them from either end.
    """
    ranks, count = cluster.pipeline_parallel, recipe.grad_accum
    if recipe.early_update:
        bound = "a pipeline updates its weights after the last micro-batch"
        key = "optimizer" if recipe.optimizer == "lomo" else "optimizer_in_backward"
        raise PlanError(f"recipe.{key}", getattr(recipe, key), bound, "use another")
    bound, remedy = "", ""
    in_turn = cluster.pipeline_schedule in ("interleaved", "zero_bubble") and cluster.chunks > 1
    if in_turn and count % max(1, count // ranks):
        bound = f"with several stages a rank they pass in {count // ranks} rounds of equal size"
        remedy = f"use a multiple of {ranks}"
    if cluster.pipeline_schedule in ("dualpipe", "dualpipe_v") and count < 2 * ranks:
        bound = f"{cluster.pipeline_schedule} needs two micro-batches a rank"
        remedy = f"use at least {2 * ranks}"
    elif cluster.pipeline_schedule == "dualpipe" and count % 2:
        bound = "dualpipe sends half of the micro-batches in at either end"
        remedy = "use an even number"
    if bound:
        raise PlanError("recipe.grad_accum", count, bound, remedy)


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


class GpuPart(NamedTuple):
    """The part of a model on one GPU of a device map."""

    layers: Layers
    embedding: bool
    head: bool


@lru_cache(maxsize=1024)
def spread(model: ModelConfig, gpus: int) -> tuple[GpuPart, ...]:
    """Return the layers of each GPU of one machine, as `device_map="auto"` of accelerate assigns
    them.

    Each GPU but the last takes modules until it holds its share of the model and 1.25 times a
    layer; the first keeps room for the largest that is to come (accelerate 1.15,
    `utils/modeling.py`: `get_balanced_memory`, `infer_auto_device_map`). A tied head goes with the
    embedding. GPUs without a module hold nothing.
    """
    a = model.architecture
    layer = model.largest_layer
    head = 0 if a.tied else a.head_size
    before = model.outer_parameters - head - a.hidden  # what is left is the last norm
    sizes = [before, *map(model.layer_parameters, range(a.layers)), a.hidden, head]
    budget = model.num_parameters // gpus + 5 * layer // 4
    places: list[int] = []
    gpu, held = 0, 0
    for index, size in enumerate(sizes):
        kept = max((*sizes[index + 1 :], 0)) if gpu == 0 else 0
        if gpu < gpus - 1 and held + size > budget - kept:
            gpu, held = gpu + 1, 0
        places.append(gpu)
        held += size
    at_head = places[0] if a.tied else places[-1]
    return tuple(
        GpuPart(
            tuple(index for index in range(a.layers) if places[index + 1] == number),
            places[0] == number,
            at_head == number,
        )
        for number in range(gpus)
    )

"""Seconds of one optimizer step by cause; an estimate whose every assumption has a name here.

Matrix products run at an assumed share of the card's peak. Memory traffic, transfers to the host
and communication come on top; each is bytes over a bandwidth of the card's data sheet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from unfrozen.hardware.boards import (
    HOST_MEMORY_GB_S,
    between_cards_gb_s,
    host_link_gb_s,
    peak_tflops,
)
from unfrozen.hardware.gpus import Gpu, find
from unfrozen.job import Job
from unfrozen.job.recipe import BYTES, Recipe
from unfrozen.plan.fit import DEFAULT_GPU, plan_job
from unfrozen.plan.flops import adapter_parameters, flops, frozen, layer_matrices
from unfrozen.units import GB

MATMUL_SHARE: Final = 0.6
"""Assumed share of a card's best measured matrix product that those of a whole step reach: 0.48 of
the peak of an H100, 0.52 of an A100. With it the estimates lie between 0.7 and 1.25 of published
speeds (`SPEEDS` of tests/unfrozen/plan/test_step_time.py): torchtitan on H100s held to 500 W and on
A100s, torchtune on an A100 and an RTX 4090. Shares of the peak that others tell, which leave out
what is computed twice: 0.38 to 0.43 by Llama 3 on H100s (arXiv 2407.21783, table 4), up to 0.52 by
Megatron-LM on A100s (arXiv 2104.04473), there with recomputation.

One table has rows that no such share explains: torchtune's of Llama-3.1-8B (README @0031bfb). Its
LoRA on an RTX 4090 would need 0.87 of the peak, its "A6000" 1.02 of an RTX A6000's for full
fine-tuning and 1.41 for LoRA, which points to another card or to activations that were kept. They
are `UNEXPLAINED` in the tests, and no speed of adapters was confirmed elsewhere."""
EAGER_SHARE: Final = 0.82
"""Assumed: what is left of that where norms and activations are kernels of their own: in eager
models, and in fused blocks, which keep less but still run them one by one; on a card nobody has
measured those. Without torch.compile
torchtune keeps 7,075 / 8,998 = 0.79 of its speed (README @7d470bf, one A100, 3B), torchtitan
5,762 / 6,667 = 0.86 (benchmarks/llama3_h100_202412_torchtitan.md @31a17bf, eight H100, 8B)."""
FP8_SHARE: Final = 0.64
"""Assumed: what products in fp8 reach of twice the speed: torchtitan's step gains 1.28, not 2
(8,532 / 6,667, the same file)."""
UNMEASURED_SHARE: Final = 0.8
"""Assumed share of the peak for the best matrix product of a card nobody measured; those of
`unfrozen.hardware.gpus` reach 0.73 to 0.87 of it by NVIDIA's cards and 0.51 to 0.63 by AMD's."""
SCORE_BYTES: Final = 12
"""Assumed: bytes a score that eager attention moves forward (product, mask, fp32 softmax, cast),
and again backward."""
_MOMENTS: Final = {"adamw": 2, "lion": 1, "sgd_momentum": 1, "muon": 1}


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds of one optimizer step on every card.

    compute        matrix products
    traffic        weights read by each micro-batch, the update, quantised weights unpacked
    host           states sent to the host and back, and activations as far as the matrix products
                   do not hide their way
    communication  between replicas as far as the matrix products do not hide it, inside a layer all
    """

    compute: float
    traffic: float
    host: float
    communication: float

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.compute + self.traffic + self.host + self.communication


def step_time(job: Job) -> StepTime:
    """Seconds of one optimizer step by cause."""
    gpu, gpus = card_of(job), job.cluster.gpus
    rate = 1e12 * peak_tflops(gpu, job.recipe.compute) * utilisation(gpu, job.recipe)
    compute = flops(job).total * step_tokens(job) / gpus / rate
    traffic = _traffic_bytes(job) / (GB * gpu.bandwidth_gb_s)
    exposed = max(0.0, _communication_seconds(job, gpu) - compute)
    talk = exposed + _tensor_parallel_seconds(job, gpu)
    host = _state_transfer_seconds(job) + max(0.0, _activation_transfer_seconds(job) - compute)
    return StepTime(compute, traffic, host, talk)


def utilisation(gpu: Gpu, recipe: Recipe) -> float:
    """Assumed share of a card's peak that the matrix products of a step reach."""
    peak = gpu.bf16_tflops
    best = gpu.matmul_tflops / peak if gpu.matmul_tflops and peak else UNMEASURED_SHARE
    eager = 1 if recipe.kernels == "fused" else EAGER_SHARE
    return MATMUL_SHARE * best * eager * (FP8_SHARE if recipe.compute == "fp8" else 1)


def card_of(job: Job) -> Gpu:
    """The job's card, or the one that is assumed where it names none."""
    return job.gpu or find(DEFAULT_GPU)


def replicas(job: Job) -> int:
    """How many cards see tokens of their own: all, divided by what shares out one sequence."""
    cluster = job.cluster
    return max(1, cluster.gpus // (cluster.tensor_parallel * cluster.context_parallel))


def step_tokens(job: Job) -> int:
    """Tokens of one optimizer step, all cards together."""
    return job.recipe.tokens * job.recipe.grad_accum * replicas(job)


def _traffic_bytes(job: Job) -> float:
    """Bytes through one card's memory that no matrix product hides."""
    recipe, cluster = job.recipe, job.cluster
    ranks = cluster.tensor_parallel
    matrices = layer_matrices(job.model.architecture) / ranks
    unpacked = 2.5 + 2 if recipe.base else 0  # 4 bits or 8 read, 16 written, 16 read
    weights = BYTES[recipe.params] + unpacked
    trained = _trained(job) / ranks
    gradients = 2 * BYTES[recipe.grads] * trained
    micro = _passes(job) * weights * matrices + (gradients if recipe.grad_accum > 1 else 0)
    if recipe.attention == "eager":
        a = job.model.architecture
        scores = a.layers * a.heads * recipe.seq_len * recipe.tokens / ranks
        again = 1 if recipe.checkpointing != "none" else 0
        micro += (2 + again) * SCORE_BYTES * scores / cluster.context_parallel
    share = trained / _shards(job)
    states = 2 * (BYTES[recipe.params] + (4 if recipe.master else 0) + _moment_width(job))
    update = 0 if cluster.offload != "none" else states * share + gradients
    return recipe.grad_accum * micro + update


def _state_transfer_seconds(job: Job) -> float:
    """Gradients down, weights up, and the host's own update; or moments there and back."""
    recipe, cluster = job.recipe, job.cluster
    shards = cluster.tensor_parallel * _shards(job)
    trained, link = _trained(job) / shards, GB * host_link_gb_s(card_of(job))
    seconds = 0.0
    if cluster.offload != "none":
        moved = BYTES[recipe.grads] + BYTES[recipe.params]
        states = 2 * ((4 if recipe.master else 0) + _moment_width(job)) + moved
        seconds += trained * (moved / link + states / (GB * HOST_MEMORY_GB_S))
    elif recipe.paged:
        seconds += 2 * trained * _moment_width(job) / link
    if cluster.offload == "params":
        weights = BYTES[recipe.params] * job.model.num_parameters / shards
        seconds += recipe.grad_accum * _passes(job) * weights / link
    return seconds


def _activation_transfer_seconds(job: Job) -> float:
    """What activation offload moves, there and back: what the card keeps without it."""
    if not job.recipe.activation_offload:
        return 0.0
    kept = plan_job(replace(job, recipe=replace(job.recipe, activation_offload=False)))
    here, there = (
        planned.instants["end_of_forward"].get("activations", 0)
        for planned in (plan_job(job), kept)
    )
    return 2 * job.recipe.grad_accum * max(0, there - here) / (GB * host_link_gb_s(card_of(job)))


def _communication_seconds(job: Job, gpu: Gpu) -> float:
    """Ring all-reduce moves 2Ψ a card, ZeRO-3 gathers twice and scatters once: 3Ψ (1910.02054)."""
    recipe, ranks = job.recipe, job.cluster.gpus // job.cluster.tensor_parallel
    if ranks <= 1:
        return 0.0
    weights = min(2, BYTES[recipe.params]) if job.cluster.stage == 3 else BYTES[recipe.params]
    whole = weights * job.model.num_parameters
    gradients = BYTES[recipe.grads] * _trained(job)
    accum = recipe.grad_accum
    if job.cluster.stage == 3:
        moved = accum * (2 * whole + gradients)
    elif job.cluster.stage == 2:
        moved = accum * gradients + weights * _trained(job)
    else:
        moved = 2 * gradients
    link = between_cards_gb_s(gpu, job.cluster.gpus)
    return moved / job.cluster.tensor_parallel * (ranks - 1) / ranks / (GB * link)


def _tensor_parallel_seconds(job: Job, gpu: Gpu) -> float:
    """Two all-reduces of the residual stream a layer and direction (arXiv 1909.08053, section 3);
    nothing hides them.
    """
    ranks, a = job.cluster.tensor_parallel, job.model.architecture
    tokens = job.recipe.tokens * job.recipe.grad_accum / job.cluster.context_parallel
    moved = 4 * 2 * (ranks - 1) / ranks * a.layers * tokens * a.hidden * 2
    return moved / (GB * between_cards_gb_s(gpu, ranks))


def _shards(job: Job) -> int:
    """Cards over which each rank's states are spread."""
    cluster = job.cluster
    return max(1, cluster.gpus // cluster.tensor_parallel) if cluster.stage else 1


def _trained(job: Job) -> int:
    return adapter_parameters(job) if frozen(job) else job.model.num_parameters


def _moment_width(job: Job) -> float:
    recipe = job.recipe
    width = {"int8": 1.0, "int4": 0.5, None: 0.0}.get(recipe.moments)
    each = BYTES[str(recipe.moments)] if width is None else width
    return _MOMENTS.get(recipe.optimizer, 0) * each


def _passes(job: Job) -> int:
    return 3 if job.recipe.checkpointing == "full" else 2

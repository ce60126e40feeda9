"""Seconds in which vLLM writes the completions of a step of GRPO, on the GPUs that train.

An engine writes the sequences of its GPU, or of those that it is split among, as in TRL's colocated
mode (trl/generation/vllm_generation.py). For each token it reads the weights once for all
sequences that are in flight, and the keys and values of each (Pope et al., Efficiently scaling
transformer inference, arXiv 2211.05102, section 2). Prompts are computed at the rate of matmuls.
Messages between the parts of an engine are not counted. No run judged these seconds yet.
"""

from __future__ import annotations

from unfrozen.hardware import Gpu, memory_bytes_per_second, sustained_tflops
from unfrozen.job import Job
from unfrozen.job.rollouts import WIDTH, cache_bytes, engine
from unfrozen.plan.flops import flops


def rollout_seconds(job: Job, gpu: Gpu) -> float:
    """Return the seconds of the rollouts of one step; 0 where another machine writes them."""
    recipe, model = job.recipe, job.model
    if not recipe.rollout_share or recipe.completion_len is None:
        return 0.0
    ranks, most = engine(model, recipe, gpu, job.cluster.gpus)
    left = recipe.micro_batch * recipe.grad_accum * ranks
    forward = flops(job).forward / (1e12 * sustained_tflops(gpu, "bf16")) / ranks
    rate, prompt = memory_bytes_per_second(gpu), recipe.seq_len - recipe.completion_len
    length, seconds = prompt + recipe.completion_len / 2, left * prompt * forward
    while left > 0:
        together = min(left, most)
        read = WIDTH * model.num_parameters + together * length * cache_bytes(model)
        seconds += recipe.completion_len * max(read / ranks / rate, together * forward)
        left -= together
    return seconds

"""FLOPs per token of a model's matrices and attention.

A matrix of n weights costs each token 2n FLOPs forward, 2n for the gradient of its input and 2n for
that of its weights: 6 a parameter (Kaplan et al., arXiv 2001.08361, section 2.1). Attention adds
the matmuls of scores and values, 4·c·H·d forward and twice that backward for c positions a token
sees on average: (s + 1)/2 under a causal mask (half of arXiv 2204.02311, appendix B), fewer where
a window slides. Full checkpointing repeats the layers' forward pass, selective only the scores of
eager attention (arXiv 2205.05198), else every second matmul.
Frozen weights need no gradient of their own: 4 a parameter, plus 6 for each one of an adapter, or
of a head that trains beside adapters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from unfrozen.job import Job
from unfrozen.job.lora import trained_whole
from unfrozen.memory import adapters
from unfrozen.model import Architecture
from unfrozen.model.attention_windows import seen_share


@dataclass(frozen=True, slots=True)
class Flops:
    """FLOPs per token. `model` is what MFU counts: nothing recomputed."""

    forward: float
    backward: float
    recompute: float
    model: float

    @property
    def total(self) -> float:
        """What the GPU really does."""
        return self.forward + self.backward + self.recompute


@lru_cache(maxsize=1024)
def layer_matrices(a: Architecture) -> int:
    """Return matrix weights of all layers that act on a token: active experts, no embedding."""
    share = a.experts.per_token / a.experts.count if a.experts else 1.0
    return round(a.blueprint.active(share))


@lru_cache(maxsize=1024)
def score_widths(a: Architecture) -> int:
    """Return the widths of queries and of values, summed over all layers with scores."""
    if not a.variants:
        return a.layers * sum(a.score_widths)
    return sum(sum(a.of_layer(index).score_widths) for index in range(a.layers))


def flops(job: Job) -> Flops:
    """Return the FLOPs per token of a job.

    Only kernels without a mask skip the half of the scores that it would hide.
    """
    a, recipe = job.model.architecture, job.recipe
    layers = 2 * layer_matrices(a)
    head = 0 if recipe.loss == "classification" else 2 * a.vocab * a.hidden
    scored = score_widths(a)
    causal = (recipe.seq_len + 1) * scored * seen_share(a.windows, recipe.seq_len)
    maskless = recipe.flashes or recipe.attention == "efficient"
    scores = causal if maskless else 2 * recipe.seq_len * scored
    beside = 2 * adapter_parameters(job)
    forward = layers + head + beside
    backward = (1 if frozen(job) else 2) * layers + (2 if head_trains(job) else 1) * head
    backward += 2 * beside
    half = scores if recipe.attention == "eager" else layers / 2  # see `Recipe`
    again = {"full": layers + beside + scores, "selective": half}
    return Flops(
        forward=forward + scores,
        backward=backward + 2 * scores,
        recompute=again.get(recipe.checkpointing, 0),
        model=forward + backward + 3 * causal,
    )


def frozen(job: Job) -> bool:
    """Return whether the layers' weights do not train, but adapters."""
    return job.recipe.lora is not None


def outer_trained(job: Job) -> tuple[int, int]:
    """Return the parameters of embedding and head that train beside adapters."""
    return trained_whole(job.model, job.recipe.lora) if job.recipe.lora else (0, 0)


def head_trains(job: Job) -> bool:
    """Return whether the head's weights train."""
    return not frozen(job) or outer_trained(job)[1] > 0


def adapter_parameters(job: Job) -> int:
    """Return the weights of the adapters, 0 where every weight trains."""
    lora = job.recipe.lora
    return 0 if lora is None else adapters.adapter_parameters(job.model, lora)

"""How long AdamW remembers, also told in tokens.

v ← β₂ v + (1 − β₂) g²: a gradient's weight in v is halved after n updates with β₂ⁿ = ½. At t tokens
an update that is n·t tokens, so a half-life of h tokens is β₂ = ½^(t/h). Held fixed in tokens and
not in updates, one choice serves small batches and large ones (Marek et al., arXiv 2507.07101).
"""

from __future__ import annotations

from gpu_runner.config.schema import TrainConfig


def betas(config: TrainConfig, tokens_a_step: float) -> tuple[float, float]:
    """β₁ and β₂ of a run whose updates see so many trained tokens on average."""
    if config.beta2_tokens is None:
        return config.beta1, config.beta2
    return config.beta1, 0.5 ** (tokens_a_step / config.beta2_tokens)

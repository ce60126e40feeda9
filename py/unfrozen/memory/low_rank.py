"""Optimizers whose moments of a matrix live in a space of lower rank.

GaLore (Zhao et al., arXiv 2403.03507, algorithm 2) multiplies the gradient of an m × n matrix by a
projection of rank r along its shorter side and keeps AdamW's two moments of the product: 2·r
numbers for each row or column of the longer side, and the projection, r for each of the shorter one
(jiaweizzhao/GaLore, galore_torch/galore_projector.py @1317b5f: "std"). APOLLO (Zhu et al., arXiv
2412.05270) projects by random numbers, which its package keeps as well ("a lazy implementation", it
says, of making them again). Matrices inside the layers are projected (attention and feed-forward
part, GaLore's README); embedding, head and norms have AdamW's own moments.
"""

from __future__ import annotations

from functools import lru_cache

from unfrozen.job.lora import layer_of_kind
from unfrozen.model import ModelConfig


@lru_cache(maxsize=1024)
def projected_numbers(model: ModelConfig, rank: int) -> tuple[int, int, int]:
    """Numbers of both moments of projected matrices, of their projections, and how many parameters
    are projected. A matrix no wider than the rank is not.
    """
    a, moments, projections, covered = model.architecture, 0, 0, 0
    for sparse, layers in ((False, a.layers - model.sparse_layers), (True, model.sparse_layers)):
        if not layers:
            continue
        for tensor in model.layer_tensors(layer_of_kind(model, sparse)):
            if len(tensor.shape) < 2 or min(tensor.shape[-2:]) <= rank:
                continue
            short, long = sorted(tensor.shape[-2:])
            matrices = layers * tensor.size // (short * long)
            moments += 2 * rank * long * matrices
            projections += rank * short * matrices
            covered += layers * tensor.size
    return moments, projections, covered

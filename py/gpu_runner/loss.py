"""Cross-entropy as (sum, count): the caller decides what the sum is divided by.

A mean over one micro-batch is the wrong mean as soon as micro-batches hold different numbers of
trainable tokens. Returning both parts lets the step divide once, by the count over all of them.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from gpu_runner.feed import IGNORED, Batch, predicting_positions


def loss_sum(model: Any, batch: Batch) -> tuple[Tensor, int]:
    """Sum of −log p(token | before) over the trainable tokens of `batch` in nats, and their count.

    Logits are computed only at positions that predict a trainable token in at least one row
    (`logits_to_keep`): a prompt costs no row of the (T, V) matrix, often the largest tensor of all.
    The cross-entropy runs in fp32 whatever the model computes in.
    """
    positions = predicting_positions(batch.labels)  # (K,)
    output = model(
        input_ids=batch.input_ids,  # (B, T)
        use_cache=False,
        logits_to_keep=positions,
    )
    targets = batch.labels[:, positions + 1]  # (B, K)
    total = F.cross_entropy(
        output.logits.float().flatten(0, 1),  # (B·K, V)
        targets.flatten(),  # (B·K,)
        ignore_index=IGNORED,
        reduction="sum",
    )
    return total, batch.trainable_tokens

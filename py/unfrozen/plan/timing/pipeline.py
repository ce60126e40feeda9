"""How long the cards of a pipeline wait for each other.

With p ranks and the seconds that one micro-batch takes each of them forward (F), for the gradients
of its inputs (B) and of its weights (W), a rank waits, whatever the number of micro-batches:

    gpipe, 1f1b      (p − 1)(F + B + W)                  arXiv 2104.04473, section 2.2.1
    interleaved      that over the number of chunks      section 2.2.2
    zero_bubble      (p − 1)(F + B − W)                  ZB-H1, arXiv 2401.10241, table 1
    zb_h2            (p − 1)(F + B − 2W)                 ZB-H2, the same table
    zb_v             (p − 1)(F + B − 2W)                 nothing where F, B and W are alike,
                                                         arXiv 2405.15362, section 3.2
    dualpipe, _v     (p / 2 − 1)(F + 2B + 2W − 3W)       DeepSeek-V3, arXiv 2412.19437, table 2,
                                                         with forward and backward side by side
                                                         as long as one after the other

None of these is ever less than nothing.
"""

from __future__ import annotations


def bubble_seconds(
    ranks: int, schedule: str, chunks: int, forward: float, inputs: float, weights: float
) -> float:
    """Seconds a step that a rank of a pipeline waits; 0 without one.

    `forward`, `inputs` and `weights` are seconds of one micro-batch on one rank, all its chunks.
    """
    if ranks <= 1:
        return 0.0
    whole = forward + inputs + weights
    if schedule in ("dualpipe", "dualpipe_v"):
        return max(0.0, (ranks / 2 - 1) * (whole + inputs + weights - 3 * weights))
    waits = {
        "interleaved": whole / chunks,
        "zero_bubble": forward + inputs - weights,
        "zb_h2": forward + inputs - 2 * weights,
        "zb_v": forward + inputs - 2 * weights,
    }
    return max(0.0, (ranks - 1) * waits.get(schedule, whole))

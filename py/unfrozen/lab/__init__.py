"""Experiments small enough to run while one reads.

`adamw` and `anchors` need numpy, the only library anything here uses; the others need nothing.

Reading order:

1. `tiny` — a network of one hidden layer: pre-training, fine-tuning, forgetting
2. `warm_up` — the same network under AdamW: the spike of a run without warm-up
3. `adamw` — AdamW over arrays: what the runner's optimizer is tested against
4. `anchors` — L2-SP, EWC and rates by layer: ways to stay near the pre-trained weights
"""

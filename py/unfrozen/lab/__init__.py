"""Experiments small enough to run while one reads.

`adamw` and `anchors` need numpy, the only library anything here uses; `tiny` needs nothing.

Reading order:

1. `tiny` — a network of one hidden layer: pre-training, fine-tuning, forgetting
2. `adamw` — AdamW over arrays: what the runner's optimizer is tested against
3. `anchors` — L2-SP, EWC and rates by layer: ways to stay near the pre-trained weights
"""

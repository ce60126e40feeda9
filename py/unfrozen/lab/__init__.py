"""Experiments small enough to run while one reads.

Reading order:

1. `tiny` — a network of one hidden layer: pre-training, fine-tuning, forgetting
"""

"""The memory model: what a training step holds, by component and by instant.

Reading order:

1. `classic` — 16 bytes a parameter, s·b·d·L·k, minimum GPUs
2. `states` — weights, gradients, master copy, moments
3. `sharding` — what ZeRO spreads over cards
4. `activations` — what the forward pass keeps for the backward pass
5. `loss` — logits and cross-entropy
6. `instants` — the moments of a step; the peak is their maximum
"""

"""The memory model: what a training step holds, by component and by instant.

Reading order:

1. `classic` — 16 bytes a parameter, s·b·d·L·k, minimum GPUs
2. `adapters` — what LoRA trains, what quantised weights take
3. `states` — weights, gradients, master copy, moments, the update's temporaries
4. `sharding` — what ZeRO and offload leave on a card
5. `flow` — what flows through a layer, and one line of its account
6. `attention` — q, k, v and the scores
7. `experts` — the sparse part of a mixture of experts
8. `activations` — what the forward pass keeps for the backward pass
9. `checkpoints` — what stays of a layer that is made again
10. `mixed` — layers of something else than attention
11. `kinds` — the kinds of layers of a model
12. `loss` — logits and cross-entropy
13. `pieces` — what a point of a pass is made of
14. `gathering` — what several cards gather and scatter while they compute
15. `working` — the highest points inside a layer
16. `backward` — one micro-batch: its highest points, taken apart into those
17. `early` — the update within the backward pass
18. `instants` — the moments of a step; the peak is their maximum
19. `overhead` — the allocator, the driver and the communication
20. `explain` — the peak as a list of terms with formula, inputs and source
"""

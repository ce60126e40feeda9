"""The memory model: what a training step holds, by component and by instant.

Reading order:

1. `classic` — 16 bytes a parameter, s·b·d·L·k, minimum GPUs
2. `adapters` — what LoRA trains, what quantised weights take
3. `low_rank` — moments in a space of lower rank
4. `states` — weights, gradients, master copy, moments, the update's temporaries
5. `sharding` — what ZeRO and offload leave on a card
6. `flow` — what flows through a layer, and one line of its account
7. `attention` — q, k, v and the scores
8. `experts` — the sparse part of a mixture of experts
9. `activations` — what the forward pass keeps for the backward pass
10. `checkpoints` — what stays of a layer that is made again
11. `loss` — logits and cross-entropy
12. `pieces` — what a point of a pass is made of
13. `gathering` — what several cards gather and scatter while they compute
14. `working` — the highest points inside a layer
15. `kept` — what all layers keep, made again or not, and what is kept beside them
16. `backward` — one micro-batch: its highest points, taken apart into those
17. `early` — the update within the backward pass
18. `in_flight` — micro-batches that a rank of a pipeline keeps, by schedule
19. `pipeline` — what a rank holds beside the stage at work
20. `instants` — the moments of a step; the peak is their maximum
21. `overhead` — the allocator, the driver and the communication
22. `explain` — the peak as a list of terms with formula, inputs and source
"""

"""The memory model: what a training step holds, by component and by instant.

Reading order:

1. `classic` — 16 bytes a parameter, s·b·d·L·k, minimum GPUs
2. `flow` — what flows through a layer, and one line of its account
3. `adapters` — what LoRA trains and keeps, what quantised weights take
4. `low_rank` — moments in a space of lower rank
5. `states` — weights, gradients, master copy, moments, the update's temporaries
6. `sharding` — what ZeRO and offload leave on a card
7. `attention` — q, k, v and the scores
8. `experts` — the sparse part of a mixture of experts
9. `activations` — what the forward pass keeps for the backward pass
10. `checkpoints` — what stays of a layer that is made again
11. `loss` — logits and cross-entropy
12. `pieces` — what a point of a pass is made of
13. `gathering` — what several cards gather and scatter while they compute
14. `working` — the highest points inside a layer
15. `mixed` — layers of something else than attention and a feed-forward part
16. `kinds` — the kinds of layers of a model, and what one of each keeps
17. `kept` — what all layers keep, made again or not, and what is kept beside them
18. `backward` — one micro-batch: its highest points, taken apart into those
19. `early` — the update within the backward pass
20. `in_flight` — micro-batches that a rank of a pipeline keeps, by schedule
21. `pipeline` — what a rank of a pipeline, or a card of a device map, holds
22. `instants` — the moments of a step; the peak is their maximum
23. `overhead` — the allocator, the driver and the communication
24. `explain` — the peak as a list of terms with formula, inputs and source
25. `holder` — whose memory that is, where cards hold different layers
"""

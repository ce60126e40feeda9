"""The memory model: what a training step holds on one GPU, by component and by instant.

Reading order:

1. `classic` — rules of thumb: 16 bytes per parameter, s·b·d·L·k, minimum GPUs
2. `layer_setup` — dtypes, kernels and adapters of a layer; one entry of what it saves
3. `adapters` — what LoRA trains and saves, what quantized weights take
4. `states` — weights, gradients, master copy, optimizer states, the update's temporaries
5. `sharding` — what ZeRO and CPU offload leave on a GPU
6. `experts` — the sparse part of a mixture of experts
7. `activations` — what a layer saves for backward, all of it or checkpointed
8. `loss` — logits and cross-entropy
9. `points` — the named terms of a point of a pass
10. `gathering` — buffers of all-gathers and reduce-scatters
11. `workspace` — temporaries at the highest points inside a layer
12. `saved_activations` — what layers of every kind save, and all of them together
13. `backward` — one micro-batch: its highest points, optimizer step in backward included
14. `pipeline_schedules` — micro-batches in flight on a pipeline rank, by schedule
15. `pipeline` — what a pipeline rank holds
16. `instants` — the instants of a step; the peak is their maximum
17. `overhead` — what the allocator reserves and needs; the driver and NCCL
18. `explain` — the peak as a list of terms with formula, inputs and source
"""

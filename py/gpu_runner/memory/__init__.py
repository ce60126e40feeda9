"""The memory of a training step: measured, predicted, and explained where it runs out.

Reading order:

- `tracker` — the measured memory of a step: every tensor on a CPU, the allocator of a GPU
- `prediction` — the predicted memory of a step, suggestions to lower it, and the cache of traces
- `formula` — predictions from the formulas of `unfrozen.memory`
- `tracing` — predictions for unknown model types, from a step under fake tensors
- `fsdp` — models sharded by FSDP2, copied so that their step can be traced
- `loop` — predictions for any training loop, from its own model and optimizer
- `advice` — settings of a run that fit, cheapest first
- `loop_advice` — settings of any training loop that fit
- `limit` — the memory limit, what an allocator says of it, and what is left for tensors
- `out_of_memory` — where memory ran out, why, and what would have fit
"""

"""The step, and what is measured of it.

Reading order:

- `allocator` — memory that a process on a CPU frees stays with it for its next step
- `initial_weights` — θ₀ on disk, and how far training has moved from it
- `penalties` — L2-SP and EWC: ways to stay near θ₀
- `step_position` — where in a step a run is, in case it ends there
- `loss_scale` — what matmuls in fp16 need, so that small gradients are not 0
- `untrained` — weights without a gradient: which may be so
- `loop` — the whole algorithm, and nothing else
- `evaluate` — held-out loss beside its value before training
- `fisher` — EWC's Fisher, estimated once before the first step
"""

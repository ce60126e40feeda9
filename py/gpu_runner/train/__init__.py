"""The step, and what is measured of it.

Reading order:

- `initial_weights` — θ₀ on disk, and how far training has moved from it
- `penalties` — L2-SP and EWC: ways to stay near θ₀
- `step_position` — where in a step a run is, in case it ends there
- `gradients` — what fp16 needs, so that small ones are not 0; weights that have none
- `loop` — the whole algorithm, and nothing else
- `reference` — what θ₀ holds likeliest in held-out sets, for the KL from it
- `evaluate` — held-out loss beside its value before training, and the KL from θ₀
- `fisher` — EWC's Fisher, estimated once before the first step
"""

"""The step, and what is measured of it.

Reading order:

- `host_memory` — what a process on a CPU frees, it keeps for its next step
- `anchor` — θ₀ on disk, and how far training has moved from it
- `penalties` — L2-SP and EWC: ways to stay near θ₀
- `meter` — what a step held; the meter of a card
- `measure` — measured memory, in the names of the prediction
- `foretold` — the memory of a model that no formula knows, from its own step without weights
- `place` — where in a step a run is, for the case that it ends there
- `loop` — the whole algorithm, and nothing else
- `evaluate` — held-out loss beside its value before training
- `fisher` — EWC's Fisher, estimated once before the first step
"""

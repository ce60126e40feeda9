"""A run before it starts.

Reading order:

- `machine` — the device, what it computes in, and what is free on it
- `plan` — data, steps, memory and disk of a run, or why it is impossible; settings that fit
- `intervals` — how often a run is evaluated and saved, by what that costs
- `device_speed` — matmuls and memory bandwidth of a device, measured now
- `step_time` — how long a step takes, before the first one
- `data_report` — the training data at a terminal, and the progress of reading it
- `report` — the plan at a terminal
"""

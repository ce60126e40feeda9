"""A run before it costs anything.

Reading order:

- `machine` — the device, what it computes in, and what is free on it
- `schedule` — the learning rate at every step
- `predictor` — the memory of a run for any choice of settings, and the settings that fit
- `plan` — data, steps, memory and disk of a run, or why it is impossible
- `device_speed` — matmuls, memory bandwidth and kernel launches of a device, measured now
- `step_time` — how long a step takes, before the first one
- `data_report` — what a person sees of the training data
- `reading_progress` — what a person sees while it is read
- `report` — what a person sees of the plan
"""

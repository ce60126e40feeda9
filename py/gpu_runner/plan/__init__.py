"""A run before it costs anything.

Reading order:

- `machine` — the device, what it computes in, and what is free on it
- `processor` — what a CPU computes fast, and is not asked to
- `schedule` — the rate at every step
- `predictor` — the memory of a run for any choice of settings, and the settings that fit
- `plan` — rows, steps, memory and disk of a run, or why it cannot be
- `pace` — how long it takes, said before it starts
- `shown` — what a person sees of it
"""

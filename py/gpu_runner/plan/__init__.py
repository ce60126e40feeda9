"""A run before it costs anything.

Reading order:

- `machine` — the device, what it computes in, and what is free on it
- `predict` — the memory it will hold, from `unfrozen.memory`
- `resident` — what `top` shows beside the tensors
- `remedy` — what to change when memory is short, in numbers
- `processor` — what a CPU computes fast, and is not asked to
- `schedule` — the rate at every step
- `fitting` — the largest micro-batch that fits
- `plan` — rows, steps, memory and disk of a run, or why it cannot be
- `proposals` — settings that fit, the cheapest first
- `pace` — how long it takes, said before it starts
- `shown` — what a person sees of it
"""

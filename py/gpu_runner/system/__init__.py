"""The machine under a run, without PyTorch: what may be used of it, and what is used.

Reading order:

- `limits` — which limits hold this process's memory, and how much each leaves
- `cards` — NVIDIA cards through NVML: memory, utilisation, power, temperature, held clocks
- `price` — what it costs, so far and to the end of a run
- `sampler` — a thread that logs all of it every few seconds
"""

"""The machine under a run, without PyTorch: what may be used of it, and what is used.

Reading order:

- `names` — what the system calls its processor
- `limits` — which limits hold this process's memory, and how much each leaves
- `cards` — NVIDIA cards through NVML: memory, utilisation, power, temperature, held clocks
- `price` — what it costs, so far and to the end of a run
- `calibration` — what was measured of it by `unfrozen calibrate`, in one file
- `sampler` — a thread that logs all of it every few seconds
"""

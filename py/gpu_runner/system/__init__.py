"""The machine of a run, without PyTorch: limits, GPUs, price, samples.

Reading order:

- `limits` — the limits on this process's memory, and what each leaves
- `foreign` — a child process with limits, for templates, tokenizers and files of others
- `gpus` — NVIDIA GPUs through NVML: memory, utilization, power, temperature, throttling
- `price` — the cost of a run, so far and in total
- `sampler` — a thread that logs all of it every few seconds
"""

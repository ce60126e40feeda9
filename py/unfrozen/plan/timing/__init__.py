"""Seconds of a step, term by term; `unfrozen.plan.step_time` adds them up.

Reading order:

- `layers` — matmuls, scans, bytes and kernels of one layer; seconds of a matmul
- `attention` — seconds of attention, by kernel
- `adapters` — what LoRA moves and multiplies beside the frozen layers
- `passes` — one micro-batch on one GPU; embedding, head, loss, bytes of an update
- `communication` — collectives as far as matmuls do not hide them, pipeline bubbles
- `rollouts` — what vLLM takes to write completions, of GRPO
- `host` — kernel launches, and transfers to the host
"""

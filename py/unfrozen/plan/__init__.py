"""The plan of a job: its memory, its time, and changes that help.

Reading order:

- `memory_plan` — what a job holds on each GPU, and whether the GPU holds that
- `methods` — full fine-tuning, LoRA and QLoRA side by side
- `flops` — FLOPs per token
- `timing` — seconds of matmuls, attention, memory and communication, term by term
- `step_time` — seconds of a step by cause
- `timeline` — two steps through time, turn by turn
- `host_memory` — what loading and saving need of a machine's own memory; what `top` shows
- `record` — how far such estimates were from published runs, by kind of job
- `compute` — time, energy and cost of a number of tokens
- `solve` — fewest GPUs, largest micro-batch, longest sequence
- `layouts` — layouts of a number of GPUs that fit, the fastest first
- `largest_model` — the largest model that each GPU can train
- `advice` — changes of a job: what each saves and costs; the smallest set that fits
"""

from unfrozen.plan.memory_plan import DEFAULT_GPU, Plan, format_gpu, plan, plan_job

__all__ = ["DEFAULT_GPU", "Plan", "format_gpu", "plan", "plan_job"]

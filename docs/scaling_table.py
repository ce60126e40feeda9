"""The scaling table of docs/scale.md, from the planner: one model on 1 … 1024 GPUs.

    .venv/bin/python docs/scaling_table.py            the table as it is in docs/scale.md
    .venv/bin/python docs/scaling_table.py --write    put it there

The batch of a step stays the same whatever the number of GPUs, as the runner keeps it: GPUs share
out its micro-batches, and more GPUs than micro-batches have nothing to do.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from unfrozen.hardware import LINK_SHARE, NODE_GPUS, peak_tflops, sustained_tflops
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model.catalogue import find
from unfrozen.plan import plan_job
from unfrozen.plan.host_memory import Reading, Writing, host_bytes
from unfrozen.plan.step_time import StepTime, job_gpu, step_time, step_tokens
from unfrozen.plan.timing.communication import CROWD

PAGE: Final = Path(__file__).parent / "scale.md"
BEGIN: Final = "<!-- docs/scaling_table.py -->"
END: Final = "<!-- end -->"
MODELS: Final = ("Llama-3.1-8B", "Llama-3.1-70B")
GPU: Final = "H100 SXM"
HOST_GPU_COUNTS: Final = (8, 16, 64)
GPU_COUNTS: Final = tuple(2**power for power in range(11))
SEQUENCES: Final = 1024  # of a step, all GPUs together
SEQ_LEN: Final = 4096
RECIPE: Final[dict[str, Any]] = {
    "params": "fp32",
    "compute": "bf16",
    "master": None,
    "grads": "fp32",
    "moments": "fp32",
    "step": "fused",
    "attention": "flash",
    "loss": "linear",
    "checkpointing": "full",
    "seq_len": SEQ_LEN,
}


def job(model: str, gpus: int, micro_batch: int = 1) -> Job:
    """One step of `SEQUENCES` rows on that many GPUs, everything sharded (ZeRO 3, as FSDP2)."""
    grad_accum = SEQUENCES // gpus // micro_batch
    return Job.read(
        {
            "model": find(model).config,
            "recipe": RECIPE | {"micro_batch": micro_batch, "grad_accum": grad_accum},
            "cluster": asdict(Cluster.of_runner(gpus)),
            "gpu": GPU,
        }
    )


def largest_that_fits(model: str, gpus: int) -> Job:
    """The job with the largest micro-batch (a power of two) that fits; with 1 where none does."""
    sizes = [2**power for power in range((SEQUENCES // gpus).bit_length())]
    jobs = [job(model, gpus, size) for size in sizes]
    return next((one for one in reversed(jobs) if plan_job(one).fits), jobs[0])


def rows(model: str) -> Iterator[str]:
    """A line a number of GPUs, as Markdown."""
    for gpus in GPU_COUNTS:
        asked = largest_that_fits(model, gpus)
        memory, found = plan_job(asked), step_time(asked)
        fits = "" if memory.fits else " ✗"
        speed = step_tokens(asked) / found.seconds
        yield (
            f"| {gpus:,} | {asked.recipe.micro_batch}"
            f" | {memory.device_bytes / 2**30:,.1f}{fits} | {found.seconds:,.1f} |"
            f" {share(found):.0%} | {speed:,.0f} | {speed / gpus:,.0f} |"
        )


def share(found: StepTime) -> float:
    """Of a step's time, what waits for other GPUs."""
    return found.communication / found.seconds


def table() -> str:
    """The tables of all models, with what they assume."""
    parts = []
    columns = ("GPUs", "sequences at once", "GiB per GPU", "s per step", "waiting for others")
    head = f"| {' | '.join(columns)} | tokens/s | tokens/s per GPU |"
    for model in MODELS:
        lines = [head, "|---:" * 7 + "|", *rows(model)]
        parts.append(
            f"**{model}**, {SEQUENCES:,} × {SEQ_LEN:,} tokens per step\n\n" + "\n".join(lines)
        )
    return "\n\n".join([*parts, assumptions(), *(host_table(model) for model in MODELS)])


def host_table(model: str) -> str:
    """What the machines' own memory must hold, in GiB, as files are read and written."""
    columns = ("", "load: whole", "load: parts", "save: whole", "save: shards")
    lines = [f"| {' | '.join(columns)} | save: beside | finish |", "|---:" * 7 + "|"]
    for gpus in HOST_GPU_COUNTS:
        asked = job(model, gpus)
        local = min(gpus, NODE_GPUS)
        ways: tuple[tuple[Reading, Writing], ...] = (
            ("whole", "whole"), ("parts", "shards"), ("parts", "beside"),
        )  # fmt: skip
        whole, shards, beside = (
            host_bytes(
                asked.model, asked.recipe, parts=gpus, local=local, reading=read, writing=write
            ).machine
            for read, write in ways
        )
        sizes = (
            *(whole["load"], shards["load"], whole["save"], shards["save"], beside["save"]),
            shards["finish"],
        )
        told = " | ".join(f"{size / 2**30:,.1f}" for size in sizes)
        lines.append(f"| {gpus:,} GPUs | {told} |")
    return f"**{model}**, the first machine's own memory in GiB\n\n" + "\n".join(lines)


def assumptions() -> str:
    """What the numbers rest on, read from the planner."""
    asked = job(MODELS[0], 1)
    gpu = job_gpu(asked)
    rate, peak = (
        sustained_tflops(gpu, asked.recipe.compute),
        peak_tflops(gpu, asked.recipe.compute),
    )
    return (
        f"✗ marks what does not fit a {gpu.name}. Weights, gradients and moments in fp32, matmuls"
        " in bf16, full activation checkpointing; as many sequences at once as fit, the rest"
        " accumulated."
        f" Matmuls sustain {rate:.0f} of the GPU's {peak:g} TFLOP/s;"
        f" {NODE_GPUS} GPUs of a machine talk at {gpu.link_gb_s:.0f} GB/s, machines at"
        f" {gpu.network_gb_s:.0f} GB/s per GPU, of which {LINK_SHARE:.0%} is reached; every"
        " micro-batch gathers the weights twice and scatters its gradients once; communication"
        f" hides behind the layers as far as they last, and slows them by {CROWD:.0%} of its time."
        " These are estimates, not measurements."
    )


def placed(page: str) -> str:
    """The page with the table in its place."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into its page, not to the terminal")
    if parser.parse_args().write:
        PAGE.write_text(placed(PAGE.read_text("utf-8")), "utf-8")
    else:
        print(table())

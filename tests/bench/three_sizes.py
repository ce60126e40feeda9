"""Three sizes of a model with random weights, trained by the runner's own command.

    python3 build.py bench three_sizes

Printed for each: tokens a second, MFU (the model's own FLOPs a token, `unfrozen.plan.flops`, times
tokens a second, over the peak of the GPU; on a CPU over the rate of one large matmul), and the
peak of memory beside what was predicted before the start. With a GPU, the sizes are
those of SmolLM2-135M, Qwen2.5-0.5B and Llama-3.2-1B; on a CPU, three that take seconds.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from gpu_runner.demo import model_dir
from gpu_runner.plan.device_speed import best_matmul_flops
from gpu_runner.plan.step_time import find_gpu
from unfrozen.job import Job
from unfrozen.plan.flops import flops
from unfrozen.units import format_bytes

Sizes = dict[str, Any]
STEPS, WARM_UP, ROWS = 8, 3, 8
MOST_OFF = 0.05
SHARED: Sizes = {"model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True}
ON_GPU = (
    ("135M", 49_152, 576, 1536, 30, 9, 3),
    ("0.5B", 151_936, 896, 4864, 24, 14, 2),
    ("1.2B", 128_256, 2048, 8192, 16, 32, 8),
)
ON_CPU = (
    ("2M", 2048, 128, 384, 6, 4, 2),
    ("9M", 4096, 256, 768, 8, 4, 2),
    ("27M", 8192, 384, 1152, 12, 6, 2),
)
_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads"),
)


def prepare(folder: Path, sizes: Sizes, length: int) -> None:
    """A model of these sizes with random weights, and rows of `length` random tokens."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    settings = transformers.LlamaConfig(**{k: v for k, v in sizes.items() if k != "model_type"})
    transformers.LlamaForCausalLM(settings).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(model_dir()).save_pretrained(folder)
    draw = random.Random(0)
    rows = (
        {"text": "".join(draw.choices("abcdefgh ijklmno", k=2 * length))}  # cut to the length
        for _ in range(96)
    )
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def train(folder: Path, length: int, rows: int) -> list[dict[str, Any]]:
    """The events of a run of STEPS steps."""
    options = {
        "--model": folder,
        "--data": folder / "rows.jsonl",
        "--general": "none",
        "--steps": STEPS,
        "--seq-len": length,
        "--micro-batch": rows,
        "--grad-accum": 1,
        "--eval-every": STEPS,
        "--save-every": 0,
        "--runs": folder / "runs",
    }
    words = [str(part) for pair in options.items() for part in pair]
    rarer = ["--set", "sample_tokens=0", "--set", "eval_rows=8"]
    command = [sys.executable, "-m", "gpu_runner", "train", *words, *rarer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the runner failed:\n{done.stdout}{done.stderr}")
    (log,) = (folder / "runs").glob("*/events.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def report(name: str, sizes: Sizes, length: int, events: list[dict[str, Any]], peak: float) -> bool:
    """Print one line; True where the measured peak is what was predicted, within MOST_OFF."""
    start = next(event for event in events if event["kind"] == "run.start")
    steps = [event["m"] for event in events if event["kind"] == "metrics" and "m" in event]
    speeds = [m["perf/tokens_per_second"] for m in steps if "perf/tokens_per_second" in m]
    measured = max(m["mem/peak_bytes"] for m in steps if "mem/peak_bytes" in m)
    predicted = start["predicted"]["peak_bytes"]
    recipe = {key: start["recipe"][key] for key in ("params", "compute", "attention", "loss")}
    job = Job.read({"model": sizes, "recipe": recipe | {"seq_len": length}})
    speed = statistics.median(speeds[WARM_UP:])
    used, off = flops(job).model * speed / peak, measured / predicted - 1
    print(
        f"  {name:<6}{start['model']['num_parameters'] / 1e6:>8,.1f} M{speed:>10,.0f} tok/s"
        f"{used:>8.1%} MFU   {format_bytes(measured):>10} measured,"
        f" {format_bytes(predicted):>10} predicted ({off:+.1%})",
        flush=True,
    )
    return bool(abs(off) <= MOST_OFF)


def main() -> int:
    """All three; 1 where a prediction is off by more than MOST_OFF."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        properties = torch.cuda.get_device_properties(0)
        gpu = find_gpu(properties.name, properties.total_memory)
        if gpu is None or not gpu.bf16_tflops:
            raise SystemExit(
                f"the planner does not know the {properties.name}: no MFU without its peak"
            )
        peak, where = gpu.bf16_tflops * 1e12, gpu.name
    else:
        peak = best_matmul_flops(torch.device("cpu"), "fp32")
        where = f"a CPU, one matmul {peak / 1e9:,.0f} GFLOP/s"
    print(f"the runner's defaults on {where}, {STEPS - WARM_UP} timed steps", flush=True)
    good, length = True, 2048 if on_gpu else 512
    for name, *values in ON_GPU if on_gpu else ON_CPU:
        sizes = SHARED | dict(zip(_KEYS, values, strict=True))
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            prepare(folder, sizes, length)
            events = train(folder, length, ROWS)
            good = report(name, sizes, length, events, peak) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

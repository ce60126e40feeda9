"""How long the layouts of 64 GPUs take: a dense model, a large one, one with experts."""

import time

from tests.bench import Ratio, show
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.layouts import layouts

GPUS = 64
SEQUENCES = 512
BUDGET_SECONDS = 5.0
MODELS = ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-70B", "Qwen/Qwen3-30B-A3B")


def seconds(name: str, framework: str = "") -> float:
    """Processor time of a search, its first and only one."""
    recipe = {"attention": "flash", "kernels": "fused", "seq_len": 4096}
    job = Job.read({"model": CATALOGUE[name].config, "gpu": "H100", "recipe": recipe})
    takes = FRAMEWORKS[framework].adapt if framework else None
    start = time.process_time()
    assert layouts(job, GPUS, SEQUENCES, takes)
    return time.process_time() - start


def main() -> None:
    """Search for anyone's layouts, and for torchtitan's."""
    rows = [Ratio(name, seconds(name), BUDGET_SECONDS, "s") for name in MODELS]
    rows.append(
        Ratio(f"{MODELS[1]}, torchtitan", seconds(MODELS[1], "torchtitan"), BUDGET_SECONDS, "s")
    )
    show(f"layouts of {GPUS} GPUs", "its budget", rows)


if __name__ == "__main__":
    main()

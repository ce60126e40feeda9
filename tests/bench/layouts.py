"""How long the layouts of 64 GPUs take, and the one plan for them: a dense model, a large one, one
with experts.
"""

import time

from tests.bench import Ratio, show
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.layouts import layouts
from unfrozen.project.best import Work, find
from unfrozen.project.questions import question
from unfrozen.training_data import Data

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


def plan_seconds(name: str) -> float:
    """Processor time of the one plan: every framework and recipe, and what else it could be."""
    data = Data(1_000_000, 1, 1000, 4096)
    asked = question({"model": CATALOGUE[name].config, "gpu": "H100"}, GPUS, data)
    start = time.process_time()
    assert Work(find(asked)).finish().first
    return time.process_time() - start


def main() -> None:
    """Search for anyone's layouts, for torchtitan's, and for the one plan."""
    rows = [Ratio(name, seconds(name), BUDGET_SECONDS, "s") for name in MODELS]
    rows += [Ratio(f"{name}, one plan", plan_seconds(name), BUDGET_SECONDS, "s") for name in MODELS]
    rows.append(
        Ratio(f"{MODELS[1]}, torchtitan", seconds(MODELS[1], "torchtitan"), BUDGET_SECONDS, "s")
    )
    show(f"layouts of {GPUS} GPUs", "its budget", rows)


if __name__ == "__main__":
    main()

"""Two processes that share the demo's first steps, beside one that takes them alone.

    python -m torch.distributed.run --nproc-per-node 2 -m gpu_runner.machine.selftest.pair DEVICE

is what the check starts: NCCL on two cards, gloo on a CPU. The first process prints its losses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Final

import torch

from gpu_runner.data.feed import Feed
from gpu_runner.machine.selftest.figures import Bench, Check, Figure, need, settings
from gpu_runner.memory.tracker import SilentMeter
from gpu_runner.model.load import load
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.machine import choose_device, configure_torch
from gpu_runner.plan.plan import RunPlan, make_plan
from gpu_runner.train.loop import TrainingStep, train_step
from gpu_runner.world import World, join

STEPS, RATE = 3, 1e-3
PATIENCE_SECONDS: Final = 100


def together(bench: Bench) -> Figure:
    """Two processes take the steps that one takes."""
    if bench.on_card:
        need(torch.cuda.device_count() > 1, "there is one card")
    alone = losses(bench.plan, World(device=bench.device))
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*line, "-m", "gpu_runner.machine.selftest.pair", bench.device.type],
        env={**os.environ, "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // 2))},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if done.returncode or not lines:
        raise RuntimeError((done.stderr.strip().splitlines() or ["two processes said nothing"])[-1])
    apart = max(abs(a / b - 1) for a, b in zip(json.loads(lines[-1]), alone, strict=True))
    return Figure(apart, 1e-4 if bench.on_card else 1e-5, "nccl" if bench.on_card else "gloo")


def losses(planned: RunPlan, world: World) -> list[float]:
    """Losses and gradient norms of STEPS steps of the demo, in this world; two micro-batches."""
    place = world.device if world.size == 1 else torch.device("cpu")
    model = load(planned.source, planned.tokenizer, "fp32", place)
    world.shard(model, None)
    feed = planned.feed
    step = TrainingStep(
        model=model,
        optimizer=optim.build(model, lr=RATE, weight_decay=0.01),
        feed=Feed(feed.examples, feed.seed, 8, 2, feed.pad_id, world.rank, world.size, feed.packed),
        schedule=planned.schedule,
        clip=1.0,
        world=world,
    )
    return [
        number for n in range(1, STEPS + 1) for number in train_step(step, n, SilentMeter())[:2]
    ]


def main(device: str) -> None:
    """One of the two."""
    config = settings(device)
    place = choose_device(device)
    configure_torch(config, place)
    world = join(place)
    found = losses(make_plan(config, world.rank, world.size), world)
    if world.first:
        print(json.dumps(found), flush=True)
    world.close()


PAIR: Final = (Check.of(together),)

if __name__ == "__main__":
    main(sys.argv[1])

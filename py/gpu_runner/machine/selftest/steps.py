"""Checks of whole steps: checkpointing, losses, experts, memory, synchronization, two processes.

    python -m torch.distributed.run --nproc-per-node 2 -m gpu_runner.machine.selftest.steps DEVICE

is what the check of two processes launches: NCCL on two GPUs, gloo on a CPU. The first process
prints its losses.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.config.bounds import Checkpointing
from gpu_runner.data.feed import Feed
from gpu_runner.machine.selftest.check import (
    BOUNDS,
    PRECISIONS,
    TRAINED,
    Check,
    DemoModel,
    Figure,
    GroupedMatmuls,
    demo_config,
    gradients,
    largest_difference,
    random_batch,
    relative_error,
    require,
    require_compiler,
    tiny_model,
    training_step,
)
from gpu_runner.memory.tracker import SilentMeter, measure_step
from gpu_runner.model import blocks
from gpu_runner.model.fused_blocks import fuses
from gpu_runner.model.load import find, load
from gpu_runner.model.loss import Kind, loss_sum
from gpu_runner.model.offload import Offload
from gpu_runner.model.save import save
from gpu_runner.plan.machine import choose_device, configure_torch
from gpu_runner.plan.plan import RunPlan, make_plan
from gpu_runner.train.loop import TrainingStep, train_step
from gpu_runner.world import World, blocks_of, join

EXPERTS: Final = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
}
MOST_OFF: Final = 0.05  # of predicted memory: what README promises
AUTOCAST: Final = 0.03  # routers choose by rounded scores, too
PAIR_STEPS, LEARNING_RATE = 3, 1e-3
LOSSES = "losses of two processes:"
PATIENCE_SECONDS: Final = 100
COMPILED: Final = 1e-4  # sums in another order, exponentials by other code


def _block_gradients(kind: Checkpointing, fused: bool, demo: DemoModel) -> Figure:
    model = demo.load()
    blocks.prepare(model, kind, compiled=False, fused=fused)
    return Figure(relative_error(gradients(model, demo.packed()), demo.exact_gradients), TRAINED)


def offloaded(demo: DemoModel) -> Figure:
    """Activations offloaded to the CPU come back unchanged."""
    model = demo.load()
    plain = [gradient.clone() for gradient in gradients(model, demo.packed())]
    saving = Offload(model)
    worst = 0.0
    for _ in range(2):  # the second reuses the buffers of the first
        model.zero_grad()
        with saving():
            total, count = loss_sum(model, demo.packed())
        (total / count).backward()
        worst = max(worst, largest_difference(plain, [p.grad for p in model.parameters()]))
    return Figure(worst, 1e-6 if demo.on_gpu else 0.0)


def compiled(demo: DemoModel) -> Figure:
    """Every block is compiled, and gives the gradient of eager mode."""
    require_compiler(demo.device)
    plain, other = tiny_model("llama", demo.device), tiny_model("llama", demo.device)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    blocks.prepare(other, "none", compiled=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about itself
        total, count = loss_sum(other, random_batch(demo.device))
        regions = _regions(total)
        (total / count).backward()
    found = [p.grad for p in other.parameters()]
    off = relative_error(found, gradients(plain, random_batch(demo.device)))
    every = len(blocks_of(other))
    note = f"{regions} of {every} blocks"
    return Figure(off if regions == every else torch.inf, COMPILED, note)


def _regions(loss: Tensor) -> int:
    """Return the number of compiled functions between a loss and the weights."""
    seen, left, found = set(), [loss.grad_fn], 0
    while left:
        node: Any = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found += "CompiledFunction" in type(node).__name__
            left += [following for following, _ in node.next_functions]
    return found


def _loss(kind: Kind, demo: DemoModel) -> Figure:
    found = gradients(demo.load(), demo.packed(), kind)
    return Figure(relative_error(found, demo.exact_gradients), TRAINED)


def experts(demo: DemoModel) -> Figure:
    """Experts by grouped_mm give the gradient of experts one by one on the CPU."""
    worst, ways = 0.0, set()
    for family, sizes in EXPERTS.items():
        model = tiny_model(family, demo.device, **sizes)
        plain = tiny_model(family, torch.device("cpu"), **sizes)
        plain.set_experts_implementation("eager")
        ways.add(str(model.config._experts_implementation))
        found = gradients(model, random_batch(demo.device))
        worst = max(
            worst, relative_error(found, gradients(plain, random_batch(torch.device("cpu"))))
        )
    return Figure(worst, BOUNDS[torch.float32], ", ".join(sorted(ways)))


def autocast_experts(demo: DemoModel) -> Figure:
    """Under autocast experts compute in bf16, and gradients match fp32 to 8 bits."""
    dtype, worst, narrow = demo.bf16(), 0.0, 0
    for family, sizes in EXPERTS.items():
        model = tiny_model(family, demo.device, **sizes)
        plain = [gradient.clone() for gradient in gradients(model, random_batch(demo.device))]
        blocks.prepare(model, "none", compiled=False)
        with torch.autocast(demo.device.type, dtype=dtype), GroupedMatmuls() as matmuls:
            found = gradients(model, random_batch(demo.device))
        narrow += matmuls.dtypes == {dtype}
        worst = max(worst, relative_error(found, plain))
    return Figure(worst if narrow == len(EXPERTS) else torch.inf, AUTOCAST)


def _grouped_mm(dtype: torch.dtype, demo: DemoModel) -> Figure:
    if dtype is torch.bfloat16:
        demo.bf16()
    draw = torch.Generator().manual_seed(3)
    ends = torch.tensor([16, 16, 40, 96], dtype=torch.int32)  # the second expert has no token
    shapes = (96, 64), (4, 64, 32), (96, 32)
    rows, weights, slope = (torch.randn(s, generator=draw).to(dtype) for s in shapes)
    exact = [tensor.double().requires_grad_() for tensor in (rows, weights)]
    parts = zip(exact[0].split([16, 0, 24, 56]), exact[1], strict=True)
    wanted = torch.cat([part @ weight for part, weight in parts])
    (wanted * slope.double()).sum().backward()
    here = [tensor.to(demo.device).requires_grad_() for tensor in (rows, weights)]
    found = torch.nn.functional.grouped_mm(here[0], here[1], offs=ends.to(demo.device))
    (found * slope.to(demo.device)).sum().backward()
    pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(here, exact, strict=True))]
    return Figure(max(relative_error([a], [b]) for a, b in pairs), BOUNDS[dtype])  # type: ignore[list-item]


def saved(demo: DemoModel) -> Figure:
    """A saved and reloaded model is the same, bit for bit."""
    model = demo.load()
    with tempfile.TemporaryDirectory() as place:
        save(model, demo.plan.tokenizer, Path(place))
        again = load(find(place), demo.plan.tokenizer, "fp32", demo.device)
    return Figure(largest_difference(model.parameters(), again.parameters()), 0.0)


def _demo_step(demo: DemoModel, compute: str) -> tuple[Any, TrainingStep]:
    """Return the plan and the step of the demo run in this precision, as `train` makes them."""
    planned = make_plan(demo_config(demo.device.type, compute=compute))
    model = load(planned.source, planned.tokenizer, "fp32", planned.device)
    blocks.prepare(model, "none", compiled=False, fused=fuses(planned.config, planned.shape))
    world = World(device=planned.device)
    step = training_step(planned, model, 1e-4, planned.feed, world, autocast=planned.autocast)
    return planned, step


def _memory(compute: str, demo: DemoModel) -> Figure:
    if compute == "bf16":
        demo.bf16()
    planned, step = _demo_step(demo, compute)
    assert planned.prediction is not None
    train_step(step, 1, SilentMeter())  # creates the optimizer states
    device = planned.device
    with measure_step(step.model, step.optimizer, device, wanted=True) as (meter, memory):
        train_step(step, planned.heaviest_step, meter)
    assert memory is not None
    predicted = planned.prediction.peak_bytes
    note = f"{memory.peak_bytes:,} bytes of {predicted:,}"
    return Figure(abs(memory.peak_bytes / predicted - 1), MOST_OFF, note)


def _synchronizations(compute: str, demo: DemoModel) -> Figure:
    require(demo.on_gpu, "a CPU has nothing to synchronize with")
    if compute == "bf16":
        demo.bf16()
    _, step = _demo_step(demo, compute)
    train_step(step, 1, SilentMeter())
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            train_step(step, 2, SilentMeter())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    count = sum("synchroniz" in str(one.message) for one in warned)
    return Figure(max(0, count - 1), 0.0, f"{count} in a step")


def two_processes(demo: DemoModel) -> Figure:
    """Two processes take the same steps as one."""
    if demo.on_gpu:
        require(torch.cuda.device_count() > 1, "this machine has one GPU")
    alone = losses(demo.plan, World(device=demo.device))
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*line, "-m", "gpu_runner.machine.selftest.steps", demo.device.type],
        env={**os.environ, "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // 2))},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    together = re.search(rf"^{LOSSES} (.*)$", done.stdout, re.MULTILINE)  # gloo prints there, too
    if done.returncode or not together:
        raise RuntimeError(
            (done.stderr.strip().splitlines() or ["two processes printed nothing"])[-1]
        )
    error = max(abs(a / b - 1) for a, b in zip(json.loads(together[1]), alone, strict=True))
    return Figure(error, 1e-4 if demo.on_gpu else 1e-5, "nccl" if demo.on_gpu else "gloo")


def losses(planned: RunPlan, world: World) -> list[float]:
    """Return losses and gradient norms of PAIR_STEPS steps of the demo."""
    place = world.device if world.size == 1 else torch.device("cpu")
    model = load(planned.source, planned.tokenizer, "fp32", place)
    world.shard(model, None)
    feed = planned.feed
    ranks = world.rank, world.size
    feed = Feed(feed.examples, feed.seed, 8, 2, feed.pad_id, *ranks, feed.packed)
    step = training_step(planned, model, LEARNING_RATE, feed, world)
    return [
        number
        for n in range(1, PAIR_STEPS + 1)
        for number in train_step(step, n, SilentMeter())[:2]
    ]


def main(device: str) -> None:
    """Run one of the two processes."""
    config = demo_config(device)
    place = choose_device(device)
    configure_torch(config, place)
    world = join(place)
    found = losses(make_plan(config, world.rank, world.size), world)
    if world.first:
        print(f"\n{LOSSES} {json.dumps(found)}", flush=True)
    world.close()


STEPS: Final = (
    Check(
        "Full activation checkpointing gives the same gradient",
        partial(_block_gradients, "full", False),
    ),
    Check(
        "Selective activation checkpointing gives the same gradient",
        partial(_block_gradients, "selective", False),
    ),
    Check("Fused blocks give the same gradient", partial(_block_gradients, "none", True)),
    Check.of(offloaded),
    Check.of(compiled),
    *(
        Check(f"The {kind} loss gives the gradient in fp64", partial(_loss, kind))
        for kind in ("full", "chunked", "linear")
    ),
    Check.of(experts),
    Check.of(autocast_experts),
    *(
        Check(f"grouped_mm gives the matmul of each group, {name}", partial(_grouped_mm, dtype))
        for name, dtype in PRECISIONS
    ),
    Check.of(saved),
    *(
        Check(f"Peak memory of a step matches its prediction, {name}", partial(_memory, name))
        for name in ("fp32", "bf16")
    ),
    *(
        Check(f"A step synchronizes with its GPU once, {name}", partial(_synchronizations, name))
        for name in ("fp32", "bf16")
    ),
    Check.of(two_processes),
)

if __name__ == "__main__":
    main(sys.argv[1])

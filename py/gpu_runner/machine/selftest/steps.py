"""Whole steps: what a block keeps, how a loss is taken, experts, files, memory, and waits."""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.config.bounds import Checkpointing
from gpu_runner.errors import UsageError
from gpu_runner.machine.selftest.figures import (
    BOUNDS,
    TRAINED,
    Bench,
    Check,
    Figure,
    GroupedProducts,
    Skipped,
    apart,
    gradients,
    moved,
    need,
    settings,
    tiny,
    tokens,
)
from gpu_runner.memory.tracker import SilentMeter, measure_step
from gpu_runner.model import blocks
from gpu_runner.model.fused_blocks import fuses
from gpu_runner.model.load import find, load
from gpu_runner.model.loss import Kind, loss_sum
from gpu_runner.model.save import save
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.plan import make_plan
from gpu_runner.train.loop import TrainingStep, train_step
from gpu_runner.world import World, blocks_of

EXPERTS: Final = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
}
MOST_OFF: Final = 0.05  # of predicted memory: what README promises
AUTOCAST: Final = 0.03  # routers choose by rounded scores, too
COMPILED: Final = 1e-4  # sums in another order, exponentials by other code


def _kept(kind: Checkpointing, fused: bool, bench: Bench) -> Figure:
    model = bench.model()
    blocks.prepare(model, kind, compiled=False, fused=fused)
    return Figure(apart(gradients(model, bench.packed()), bench.exact), TRAINED)


def offloaded(bench: Bench) -> Figure:
    """Activations that wait on the host come back unchanged."""
    model = bench.model()
    plain = [gradient.clone() for gradient in gradients(model, bench.packed())]
    saving = blocks.offloading(model)
    worst = 0.0
    for _ in range(2):  # the second takes the places of the first
        model.zero_grad()
        with saving():
            total, count = loss_sum(model, bench.packed())
        (total / count).backward()
        worst = max(worst, moved(plain, [p.grad for p in model.parameters()]))
    return Figure(worst, 1e-6 if bench.on_card else 0.0)


def compiled(bench: Bench) -> Figure:
    """Every block is compiled, and gives the gradient that it gives as it is written."""
    try:
        blocks.check_compiler(bench.device)
    except UsageError as error:
        raise Skipped(str(error).split(",")[0]) from None
    plain, other = tiny("llama", bench.device), tiny("llama", bench.device)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    blocks.prepare(other, "none", compiled=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about itself
        total, count = loss_sum(other, tokens().to(bench.device))
        regions = _regions(total)
        (total / count).backward()
    found = [p.grad for p in other.parameters()]
    off = apart(found, gradients(plain, tokens().to(bench.device)))
    every = len(blocks_of(other))
    note = f"{regions} of {every} blocks"
    return Figure(off if regions == every else torch.inf, COMPILED, note)


def _regions(loss: Tensor) -> int:
    """How many compiled functions stand between a loss and the weights."""
    seen, left, found = set(), [loss.grad_fn], 0
    while left:
        node: Any = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found += "CompiledFunction" in type(node).__name__
            left += [following for following, _ in node.next_functions]
    return found


def _by_loss(kind: Kind, bench: Bench) -> Figure:
    found = gradients(bench.model(), bench.packed(), kind)
    return Figure(apart(found, bench.exact), TRAINED)


def experts(bench: Bench) -> Figure:
    """Experts by the grouped product give the gradient of experts one by one on the CPU."""
    worst, ways = 0.0, set()
    for family, sizes in EXPERTS.items():
        model = tiny(family, bench.device, **sizes)
        plain = tiny(family, torch.device("cpu"), **sizes)
        plain.set_experts_implementation("eager")
        ways.add(str(model.config._experts_implementation))
        found = gradients(model, tokens().to(bench.device))
        worst = max(worst, apart(found, gradients(plain, tokens())))
    return Figure(worst, BOUNDS[torch.float32], ", ".join(sorted(ways)))


def autocast_experts(bench: Bench) -> Figure:
    """Under autocast experts compute in bf16, and give the gradient in fp32 to within 8 bits."""
    width, worst, narrow = bench.narrow(), 0.0, 0
    for family, sizes in EXPERTS.items():
        model = tiny(family, bench.device, **sizes)
        plain = [gradient.clone() for gradient in gradients(model, tokens().to(bench.device))]
        blocks.prepare(model, "none", compiled=False)
        with torch.autocast(bench.device.type, dtype=width), GroupedProducts() as products:
            found = gradients(model, tokens().to(bench.device))
        narrow += products.widths == {width}
        worst = max(worst, apart(found, plain))
    return Figure(worst if narrow == len(EXPERTS) else torch.inf, AUTOCAST)


def _grouped(dtype: torch.dtype, bench: Bench) -> Figure:
    if dtype is torch.bfloat16:
        bench.narrow()
    draw = torch.Generator().manual_seed(3)
    ends = torch.tensor([16, 16, 40, 96], dtype=torch.int32)  # the second expert has no row
    shapes = (96, 64), (4, 64, 32), (96, 32)
    rows, weights, slope = (torch.randn(s, generator=draw).to(dtype) for s in shapes)
    exact = [tensor.double().requires_grad_() for tensor in (rows, weights)]
    parts = zip(exact[0].split([16, 0, 24, 56]), exact[1], strict=True)
    wanted = torch.cat([part @ weight for part, weight in parts])
    (wanted * slope.double()).sum().backward()
    here = [tensor.to(bench.device).requires_grad_() for tensor in (rows, weights)]
    found = torch.nn.functional.grouped_mm(here[0], here[1], offs=ends.to(bench.device))
    (found * slope.to(bench.device)).sum().backward()
    pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(here, exact, strict=True))]
    return Figure(max(apart([a], [b]) for a, b in pairs), BOUNDS[dtype])  # type: ignore[list-item]


def saved(bench: Bench) -> Figure:
    """A model that is saved and loaded again is the same to the bit."""
    model = bench.model()
    with tempfile.TemporaryDirectory() as place:
        save(model, bench.plan.tokenizer, Path(place))
        again = load(find(place), bench.plan.tokenizer, "fp32", bench.device)
    return Figure(moved(model.parameters(), again.parameters()), 0.0)


def _step_of(bench: Bench, compute: str) -> tuple[Any, TrainingStep]:
    """The demo's own run in this precision, planned and loaded as `train` does."""
    planned = make_plan(settings(bench.device.type, compute=compute))
    model = load(planned.source, planned.tokenizer, "fp32", planned.device)
    blocks.prepare(model, "none", compiled=False, fused=fuses(planned.config, planned.shape))
    step = TrainingStep(
        model=model,
        optimizer=optim.build(model, lr=1e-4, weight_decay=0.01),
        feed=planned.feed,
        schedule=planned.schedule,
        clip=1.0,
        autocast=planned.autocast,
        world=World(device=planned.device),
    )
    return planned, step


def _remembered(compute: str, bench: Bench) -> Figure:
    if compute == "bf16":
        bench.narrow()
    planned, step = _step_of(bench, compute)
    assert planned.prediction is not None
    train_step(step, 1, SilentMeter())  # moments appear
    device = planned.device
    with measure_step(step.model, step.optimizer, device, wanted=True) as (meter, memory):
        train_step(step, planned.heaviest_step, meter)
    assert memory is not None
    predicted = planned.prediction.peak_bytes
    note = f"{memory.peak_bytes:,} bytes of {predicted:,}"
    return Figure(abs(memory.peak_bytes / predicted - 1), MOST_OFF, note)


def _waits(compute: str, bench: Bench) -> Figure:
    need(bench.on_card, "a CPU has nothing to wait for")
    if compute == "bf16":
        bench.narrow()
    _, step = _step_of(bench, compute)
    train_step(step, 1, SilentMeter())
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            train_step(step, 2, SilentMeter())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchroniz" in str(one.message) for one in told)
    return Figure(max(0, waits - 1), 0.0, f"{waits} in a step")


STEPS: Final = (
    Check("Blocks computed again whole give the same gradient", partial(_kept, "full", False)),
    Check("Blocks computed again in part give it too", partial(_kept, "selective", False)),
    Check("Fused blocks give it too", partial(_kept, "none", True)),
    Check.of(offloaded),
    Check.of(compiled),
    *(
        Check(f"The {kind} loss gives the gradient in 64 bits", partial(_by_loss, kind))
        for kind in ("full", "chunked", "linear")
    ),
    Check.of(experts),
    Check.of(autocast_experts),
    *(
        Check(f"Grouped products give those of each group, {name}", partial(_grouped, dtype))
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    ),
    Check.of(saved),
    *(
        Check(f"A step holds the bytes that were predicted, {name}", partial(_remembered, name))
        for name in ("fp32", "bf16")
    ),
    *(
        Check(f"A step waits for its card once, {name}", partial(_waits, name))
        for name in ("fp32", "bf16")
    ),
)

"""Whether a run compiles its blocks, where that is left to the runner and a GPU computes.

One block of each kind that the model has is built from its configuration, with random weights, and
timed forward and backward on a micro-batch of mean size: as the run would compute it eagerly, and
compiled, on sequences padded to the one length that a compiled run has. What compiling gains in the
whole run stands against the seconds that it took here. Messages between processes are not timed.

Measured before weights are read, when the GPU is empty: the first steps of the run, eager and then
compiled, would change its numbers in the middle, and its memory after it was predicted. Everything
is freed again, random numbers are those of before, and whatever goes wrong leaves the blocks as
they are, with its reason.
"""

from __future__ import annotations

import gc
import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any, Final, NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from gpu_runner.config.bounds import check_config
from gpu_runner.data.feed import Batch
from gpu_runner.errors import UsageError, is_out_of_memory
from gpu_runner.model import attention, blocks
from gpu_runner.model.fused_blocks import fuses
from gpu_runner.model.load import DTYPES, read_config
from gpu_runner.model.sharded_load import skeleton
from gpu_runner.plan.device_speed import sustained, synchronize, time_calls
from gpu_runner.plan.plan import RunPlan
from gpu_runner.world import World, blocks_of, freeze_encoders
from unfrozen.training_data import spread
from unfrozen.units import format_bytes, format_elapsed, sig3

SECONDS: Final = 0.5
"""The length of each timing."""
PASSES: Final = 4
"""Passes between two waits for the GPU: within a step nothing waits for it."""
SAMPLED: Final = 32
"""Steps whose micro-batches tell the mean one."""
LEAST_SECONDS: Final = 30.0
"""The least time of all layers of a run: compiling takes ten or more, and never saves all of it."""
MOST_KINDS: Final = 4
"""The most kinds of blocks: each is compiled for itself, and PyTorch runs the ninth eagerly."""
WEIGHT: Final = 0.02
"""The spread of random weights."""
MOST_CHARACTERS: Final = 200
"""The longest part of a compiler's message that is shown."""


class Choice(NamedTuple):
    """Whether blocks are compiled, and a sentence that says why."""

    compiled: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """Seconds of a layer in one micro-batch, the mean of a model's; and those of compiling it."""

    eager: float
    compiled: float
    compiling: float


def choose_compile(plan: RunPlan, world: World, console: Console) -> RunPlan:
    """Return the plan of a run that knows whether it compiles, the same on every process.

    On a CPU nothing is compiled unless asked for: a step waits for matmuls there, not for kernels
    to be launched, and C++ compiles for a minute.
    """
    if plan.config.compile is not None:
        return plan
    if plan.device.type == "cpu":
        return plan.with_compile(False)
    with console.status("timing layers, eager and compiled"):
        return plan.with_compile(*world.on_first(lambda: choose(plan)))


def choose(plan: RunPlan) -> Choice:
    """Time the layers of a run on its device, and choose; never raises for what fails there."""
    if why := _not_to_measure(plan):
        return Choice(False, f"Not compiled{why}.")
    try:
        with _traceless(plan.device), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler, about itself
            return _measured(plan)
    except Exception as error:  # compilers and models' own code may raise anything
        return Choice(False, f"Not compiled: {_describe(error)}.")
    finally:
        free_unused(plan.device)  # once no traceback refers to tensors


def verdict(times: LayerTimes, passes: float, steps: int) -> Choice:
    """Choose by the time of a whole run in which each step has so many `passes` through a layer."""
    gain = (times.eager - times.compiled) * passes  # a step
    one = f"{sig3(1e3 * times.compiled)} ms in place of {sig3(1e3 * times.eager)}"
    if gain <= 0:
        return Choice(False, f"Not compiled: a layer would take {one}.")
    after = math.ceil(times.compiling / gain)
    spent = f"which repays {format_elapsed(times.compiling)} of compiling after {after:,}"
    if after < steps:
        return Choice(True, f"Compiled: a layer takes {one}, {spent} of {steps:,} steps.")
    text = f"Not compiled: a layer would take {one}, {spent} steps, and the run has {steps:,}."
    return Choice(False, text)


def _not_to_measure(plan: RunPlan) -> str:
    """Return how "Not compiled" goes on where no measurement is needed; "" where it is."""
    config = plan.config
    try:
        check_config(replace(config, compile=True))
    except UsageError as error:
        return f" because of {str(error).rpartition(': ')[0]}"
    if config.deterministic:
        return " because of --deterministic: two runs might choose differently"
    if config.activation_offload:
        return " because of --activation-offload: its copies are not in what would be timed"
    if lacking := blocks.missing_compiler(plan.device):
        return f": it needs {lacking}, and there is none"
    needed = plan.with_compile(True).prediction
    most = max(plan.available_bytes, plan.prediction.peak_bytes if plan.prediction else 0)
    if needed is not None and needed.peak_bytes > most:
        free = format_bytes(plan.available_bytes)
        return f": it would need {format_bytes(needed.peak_bytes)}, and {free} are free"
    return ""


def _measured(plan: RunPlan) -> Choice:
    sample = _Sample.of(plan)
    eager = _layers(plan, compiled=False)
    if (kinds := len(eager.kinds)) > MOST_KINDS:
        return Choice(False, f"Not compiled: the model has {kinds} kinds of layers, too many.")
    passes = sample.micro_batches * eager.count
    taken = eager.time(sample.batch(plan, compiled=False)).eager
    whole = taken * passes * plan.steps
    if whole < LEAST_SECONDS:
        brief = (
            f"its layers take {format_elapsed(whole)} in the whole run, too little to pay it off"
        )
        return Choice(False, f"Not compiled: {brief}.")
    found = _layers(plan, compiled=True).time(sample.batch(plan, compiled=True))
    return verdict(replace(found, eager=taken), passes, plan.steps)


class _Sample(NamedTuple):
    """A micro-batch of mean size, the `place`-th of this process in a step; how many one has."""

    step: int
    place: int
    micro_batches: float

    @staticmethod
    def of(plan: RunPlan) -> _Sample:
        feed, numbers = plan.feed, [1 + index for index in spread(plan.steps, SAMPLED)]
        tokens = {
            (number, place): shape.rows * shape.length
            for number in numbers
            for place, shape in enumerate(islice(feed.shapes(number), feed.rank, None, feed.ranks))
        }
        mean = fmean(tokens.values())
        nearest = min(tokens, key=lambda at: abs(tokens[at] - mean))
        return _Sample(*nearest, len(tokens) / len(numbers))

    def batch(self, plan: RunPlan, *, compiled: bool) -> Batch:
        """Return it on the device, as long as an eager or a compiled run makes it."""
        found = replace(plan.feed, fixed=compiled).step(self.step)
        return next(islice(found, self.place, None)).to(plan.device)


def _layers(plan: RunPlan, *, compiled: bool) -> Layers:
    """Build the blocks of a run; of a sharded one in the precision in which it gathers them."""
    settings, shape = read_config(plan.source)
    vars(settings).pop("quantization_config", None)  # of the files, not of the model
    width = plan.compute if plan.feed.ranks > 1 else plan.config.params
    model = skeleton(plan.source, settings, DTYPES[width], attention.arguments_for(shape))
    freeze_encoders(model)
    model.train()
    config = replace(plan.config, compile=compiled)
    fused = fuses(config, shape)
    blocks.prepare(model, config.checkpointing, compiled=compiled, fused=fused)
    return Layers(model, plan.device, plan.autocast)


class Layers:
    """The blocks of a model whose parameters are on the meta device, to be timed one by one."""

    def __init__(
        self, model: Any, device: torch.device, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._model, self._decoder = model, model.get_decoder()
        self._device, self._autocast = device, autocast
        self.every = blocks_of(model)
        self._holder = next(
            m for m in model.modules() if isinstance(m, nn.ModuleList) and [*m] == self.every
        )
        self._types = list(vars(self._decoder.config).get("layer_types") or ())
        signs = [self._sign(index) for index in range(len(self.every))]
        self.kinds = {signs.index(sign): count for sign, count in Counter(signs).items()}
        """The number of blocks of each kind, by the index of its first."""

    @property
    def count(self) -> int:
        """Blocks of the model."""
        return len(self.every)

    def time(self, batch: Batch) -> LayerTimes:
        """Time a layer, and how much longer the first passes take: they compile."""
        first = usual = 0.0
        for index, count in self.kinds.items():
            with self.ready(index, batch) as passes:
                started = time.perf_counter()
                passes()
                synchronize(self._device)
                first += time.perf_counter() - started
                taken = sustained(time_calls(passes, self._device, SECONDS, time.perf_counter))
            first -= taken
            usual += count * taken / PASSES
        return LayerTimes(usual / self.count, usual / self.count, max(0.0, first))

    @contextmanager
    def ready(self, index: int, batch: Batch) -> Iterator[Callable[[], None]]:
        """Give a block random weights; yield PASSES passes through it, forward and backward."""
        block = self.every[index]
        del self._holder[:]
        self._holder.append(block)
        if self._types:  # by which a model chooses masks and positions
            self._decoder.config.layer_types = [self._types[index]]
        # not the embedding, which is large: the model gets its output
        _move(self._decoder, self._device, but=self._decoder.get_input_embeddings())
        given, named = self._arguments(block, batch)
        slope = torch.ones_like(given[0])

        def passes() -> None:
            for _ in range(PASSES):
                with self._autocast():
                    out = block(*given, **named)
                out = out if isinstance(out, Tensor) else out[0]
                out.backward(slope.to(out.dtype))

        yield passes
        _move(block, torch.device("meta"))

    def _sign(self, index: int) -> tuple[Any, ...]:
        """Return in what a block is like others of its kind."""
        block = self.every[index]
        shapes = tuple((name, p.shape) for name, p in block.named_parameters())
        return type(block), *self._types[index : index + 1], shapes

    def _arguments(self, block: nn.Module, batch: Batch) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with which the model calls a block; it gets no further."""

        def stop(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            raise _Reached(given, named)

        shape = *batch.input_ids.shape, self._decoder.config.hidden_size
        width = next(block.parameters()).dtype
        asked = {
            "inputs_embeds": torch.randn(shape, device=self._device, dtype=width),
            "use_cache": False,
        }
        if batch.bounds is not None:
            asked |= attention.bounds_arguments(batch.bounds, batch.longest, batch.seen_bounds)
            asked["position_ids"] = batch.position_ids
        hook = block.register_forward_pre_hook(stop, with_kwargs=True)
        self._decoder.eval()  # a checkpoint would have bound some of them
        try:
            with torch.no_grad(), self._autocast(), attention.skip_packing_detection():
                self._decoder(**asked)
        except _Reached as reached:
            given, named = reached.args
        finally:
            hook.remove()
            self._decoder.train()
        return [given[0].detach().requires_grad_(), *given[1:]], named


class _Reached(Exception):
    """A model has come to its block, with these arguments."""


def _move(whole: nn.Module, device: torch.device, *, but: nn.Module | None = None) -> None:
    """Put modules on a device, with random weights where they come from the meta device."""
    for module in whole.modules():
        if module is but:
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.device.type != device.type:
                values = torch.empty_like(parameter, device=device).normal_(0.0, WEIGHT)
                setattr(module, name, nn.Parameter(values))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))


@contextmanager
def _traceless(device: torch.device) -> Iterator[None]:
    """Leave random numbers, memory and the compiler as they were."""
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        if (dynamo := sys.modules.get("torch._dynamo")) is not None:
            dynamo.reset()
        if (workers := sys.modules.get("torch._inductor.async_compile")) is not None:
            workers.shutdown_compile_workers()


def free_unused(device: torch.device) -> None:
    """Give back memory that nothing refers to any more, and what cuBLAS works in."""
    gc.collect()
    if device.type == "cuda":
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()


def _describe(error: Exception) -> str:
    if is_out_of_memory(error):
        return "no memory is free to time a layer"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    text = " ".join(lines[: 1 + lines[0].endswith(":")])[:MOST_CHARACTERS].rstrip(".")
    return f"a layer could not be timed ({type(error).__name__}: {text})"

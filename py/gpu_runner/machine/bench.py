"""`unfrozen bench`: tokens per second, MFU and memory of three sizes of one model.

Models are Llamas with random weights; examples are random tokens of uneven length, once padded and
once packed. The step is the run's own (`train.loop.train_step`) with the run's defaults. A size is
warmed up, timed, and then measured in one more step, because measuring slows a step on a CPU.
Tokens are those of examples, without padding. MFU is the model's FLOPs per token
(`unfrozen.plan.flops`) times tokens per second, over the peak of the GPU; on a CPU, and for a GPU
that the planner does not know, over the rate of one large matmul, measured first.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import torch
from rich.console import Console
from rich.text import Text

from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Feed
from gpu_runner.errors import ExitCode, is_out_of_memory
from gpu_runner.memory.formula import build_recipe, heaviest_micro_batch, predict
from gpu_runner.memory.prediction import MARGIN
from gpu_runner.memory.tracker import SilentMeter, measure_step
from gpu_runner.model import attention, blocks
from gpu_runner.model.fused_blocks import fuses
from gpu_runner.model.load import DTYPES
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan.device_speed import best_matmul_flops
from gpu_runner.plan.machine import choose_device, choose_precision, configure_torch, free_bytes
from gpu_runner.plan.step_time import peak_flops
from gpu_runner.text import printable
from gpu_runner.train.loop import TrainingStep, train_step
from gpu_runner.world import World
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model import ModelConfig
from unfrozen.plan.flops import flops
from unfrozen.schedules import Schedule
from unfrozen.units import format_bytes

WARM_UP, TIMED = 3, 5
COUNT: Final = 3
_KEYS: Final = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads"),
)
ON_GPU: Final = (  # widths and depths of SmolLM2, Qwen2.5 and Llama 3
    ("135M", 49_152, 576, 1536, 30, 9, 3),
    ("0.5B", 151_936, 896, 4864, 24, 14, 2),
    ("1B", 128_256, 2048, 8192, 16, 32, 8),
    ("3B", 128_256, 3072, 8192, 28, 24, 8),
    ("8B", 128_256, 4096, 14_336, 32, 32, 8),
)
ON_CPU: Final = (
    ("1M", 2048, 128, 384, 6, 4, 2),
    ("7M", 4096, 256, 768, 8, 4, 2),
    ("24M", 8192, 384, 1152, 12, 6, 2),
)


@dataclass(frozen=True, slots=True)
class Size:
    """A model by its configuration, and the examples that it is trained on."""

    name: str
    settings: dict[str, Any]
    length: int
    batch: int = 8

    @property
    def shape(self) -> ModelConfig:
        """The planner's model of it."""
        return ModelConfig.from_hf(self.settings)

    def examples(self) -> tuple[Example, ...]:
        """Return examples of a quarter to the whole of `length` random tokens, all trained."""
        draw = random.Random(0)
        quarter = self.length // 4
        lengths = [quarter * (1 + index % 4) for index in range(4 * self.batch)]
        ids = [draw.choices(range(1, self.settings["vocab_size"]), k=n) for n in lengths]
        return tuple(Example(tuple(row), (False, *[True] * (len(row) - 1))) for row in ids)


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The result of one size; without `tokens_per_second` it ran out of memory."""

    size: str
    parameters: int
    packed: bool
    compute: str
    predicted_bytes: int
    measured_bytes: int | None = None
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None

    def __str__(self) -> str:
        layout = "packed" if self.packed else "padded"
        start = f"  {self.size:<5}{self.parameters / 1e6:>8,.1f} M  {layout:<7}{self.compute:<5}"
        predicted = f"{format_bytes(self.predicted_bytes):>10} predicted"
        if self.tokens_per_second is None or self.measured_bytes is None:
            return f"{start}  out of memory   {predicted}"
        off = self.measured_bytes / self.predicted_bytes - 1
        return (
            f"{start}{self.tokens_per_second:>10,.0f} tok/s{self.mfu or 0:>7.1%} MFU"
            f"{format_bytes(self.measured_bytes):>12} measured, {predicted} ({off:+.1%})"
        )


def run(console: Console, device: str, *, as_json: bool) -> ExitCode:
    """Train COUNT sizes, padded and packed, and print a line each, or all of them as JSON.

    Raises `UsageError` for a missing device.
    """
    place = choose_device(device)
    config = _config(place.type, packing=True)
    configure_torch(config, place)
    compute = choose_precision(config, place)
    peak, where = _peak(place, compute)
    if not as_json:
        head = f"{where}; {compute} matmuls, steps {WARM_UP + 1} to {WARM_UP + TIMED}, medians"
        console.print(Text(printable(head), "bold"))
    found = []
    for size in sizes(place, compute):
        for packed in (False, True):
            found.append(measure_size(size, place, compute, peak, packed=packed))
            if not as_json:
                console.print(Text(str(found[-1])), soft_wrap=True)
    if as_json:
        about = {"machine": where, "peak_flops": peak, "torch": str(torch.__version__)}
        console.print_json(json.dumps(about | {"steps": [asdict(one) for one in found]}))
    return ExitCode.OK


def sizes(place: torch.device, compute: str) -> list[Size]:
    """Return the smallest size and the two largest that fit; on a CPU three tiny ones."""
    on_gpu = place.type == "cuda"
    made = []
    for name, *values in ON_GPU if on_gpu else ON_CPU:
        shared = {"model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True}
        settings = shared | dict(zip(_KEYS, values, strict=True))
        made.append(Size(name, settings, 2048 if on_gpu else 256))
    if on_gpu:
        free = MARGIN * free_bytes(place)
        fitting = [size for size in made if _needs(size, place, compute) <= free] or made[:1]
        made = [fitting[0], *fitting[1:][1 - COUNT :]]
    return made


def _needs(size: Size, place: torch.device, compute: str) -> int:
    config = _config(place.type, packing=True)
    return _predicted(size, _feed(size, packed=True), config, compute)[1]


def _config(device: str, *, packing: bool) -> TrainConfig:
    """Return the runner's defaults, for a model and examples that are in no file."""
    given = {"model": "random", "data": "random", "device": device, "packing": packing}
    return resolve({**given, "grad_accum": 1})


def _feed(size: Size, *, packed: bool) -> Feed:
    return Feed(size.examples(), 0, size.batch, 1, 0, packed=packed)


def _predicted(size: Size, feed: Feed, config: TrainConfig, compute: str) -> tuple[int, int]:
    """Return the step of the largest predicted memory, and its bytes."""
    last = WARM_UP + TIMED
    number, shape = heaviest_micro_batch(feed, last, size.shape, config, compute)
    return number, predict(size.shape, config, compute, shape).peak_bytes


def measure_size(
    size: Size, place: torch.device, compute: str, peak: float, *, packed: bool
) -> BenchResult:
    """Warm up, time and measure one size, padded or packed."""
    config, feed = _config(place.type, packing=packed), _feed(size, packed=packed)
    heavy, predicted = _predicted(size, feed, config, compute)
    step: Any = None
    found = BenchResult(size.name, size.shape.num_parameters, packed, compute, predicted)
    try:
        step = _step(size, feed, config, place, compute)
        seconds, speed = _timed(step)
        with measure_step(step.model, step.optimizer, place, wanted=True) as (meter, memory):
            train_step(step, heavy, meter)
        assert memory is not None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return found
    finally:
        del step
        gc.collect()
        if place.type == "cuda":
            torch.cuda.empty_cache()
    mfu = speed * _flops(size, feed, config, compute) / peak
    return BenchResult(
        *(size.name, size.shape.num_parameters, packed, compute, predicted),
        *(memory.peak_bytes, seconds, speed, mfu),
    )


def _flops(size: Size, feed: Feed, config: TrainConfig, compute: str) -> float:
    """Return the model's FLOPs per token, for the mean length of a token's example."""
    lengths = [len(example.ids) for example in feed.examples]
    mean = round(sum(n**2 for n in lengths) / sum(lengths))
    (shape,) = list(feed.shapes(1))[:1]
    recipe = build_recipe(config, compute, shape._replace(rows=1, length=mean), size.shape)
    return flops(Job(size.shape, recipe, Cluster(1, "none"))).model


def _step(
    size: Size, feed: Feed, config: TrainConfig, place: torch.device, compute: str
) -> TrainingStep:
    """Return the runner's step on this model, made on the device."""
    import transformers

    chosen = transformers.AutoConfig.for_model(**size.settings)
    torch.manual_seed(0)
    with place:
        model: Any = transformers.AutoModelForCausalLM.from_config(
            chosen, dtype=DTYPES[config.params], attn_implementation=attention.register()
        )
    model.train()
    blocks.prepare(model, "none", compiled=False, fused=fuses(config, size.shape))
    autocast: Any = nullcontext
    if compute != config.params:
        autocast = partial(torch.autocast, place.type, dtype=torch.bfloat16)
    return TrainingStep(
        model=model,
        optimizer=optim.build(model, lr=config.lr, weight_decay=config.weight_decay),
        feed=feed,
        schedule=Schedule("constant", WARM_UP + TIMED, config.lr),
        clip=config.clip,
        autocast=autocast,
        loss=partial(loss_sum, kind=config.loss),
        world=World(device=place),
    )


def _timed(step: TrainingStep) -> tuple[float, float]:
    """Return the median seconds of a step and median tokens per second, of steps after WARM_UP."""
    seconds, speeds = [], []
    for number in range(1, WARM_UP + TIMED + 1):
        count = (
            step.feed.trainable_tokens(number) + step.feed.sequences_per_step
        )  # the first of each
        started = time.perf_counter()
        train_step(step, number, SilentMeter())  # ends with a synchronization
        seconds.append(time.perf_counter() - started)
        speeds.append(count / seconds[-1])
    return statistics.median(seconds[WARM_UP:]), statistics.median(speeds[WARM_UP:])


def _peak(place: torch.device, compute: str) -> tuple[float, str]:
    """Return the peak FLOP/s of the device, and its name beside them."""
    if place.type == "cuda":
        name = torch.cuda.get_device_name(place)
        if (known := peak_flops(place, compute)) is not None:
            return known, f"{name}, {known / 1e12:,.0f} TFLOP/s"
        rate = best_matmul_flops(place, compute)
        return rate, f"{name}, one matmul {rate / 1e12:,.0f} TFLOP/s"
    rate = best_matmul_flops(place, compute)
    return rate, f"a CPU, one matmul {rate / 1e9:,.0f} GFLOP/s"

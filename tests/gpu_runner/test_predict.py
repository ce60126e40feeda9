"""Steps measured tensor by tensor on a CPU, beside what was predicted for their heaviest shape."""

import random
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch

import tiny_llama
from gpu_runner import attention, blocks, optim
from gpu_runner.config import resolve
from gpu_runner.early import Early
from gpu_runner.encode import Example
from gpu_runner.feed import Feed, Shape
from gpu_runner.fused import fuses
from gpu_runner.loss import loss_sum
from gpu_runner.measure import SilentMeter, StepMemory, measured
from gpu_runner.predict import Prediction, heaviest, predict, recipe
from gpu_runner.train import Job, State, train_step
from unfrozen.model import ModelConfig
from unfrozen.schedules import Schedule

CPU = torch.device("cpu")
SCHEDULE = Schedule("cosine", 4, 1e-3, 1)
SIZES = {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 4, "vocab_size": 512}
DRAW = random.Random(0)
ROWS = tuple(
    Example(
        tuple(DRAW.randrange(1, 264) for _ in range(length)),
        tuple(place >= length // 3 for place in range(length)),
    )
    for length in (DRAW.randrange(20, 120) for _ in range(16))
)


def step(**choices: Any) -> tuple[StepMemory, Prediction]:
    """The second step of a tiny model, measured and predicted."""
    config = resolve({"model": "x", "data": "y", "micro_batch": 8, "grad_accum": 1, **choices})
    compute = "bf16" if config.compute == "bf16" else "fp32"
    attention.register()
    model = tiny_llama.model(**SIZES)
    model.set_attn_implementation(attention.NAME)
    model.train()
    known = ModelConfig.from_hf(model.config.to_dict())
    blocks.prepare(model, config.checkpointing, compiled=False, fused=fuses(config, known))
    choice = optim.Choice(config.optimizer)
    optimizer: Any = optim.build(model, lr=1e-3, weight_decay=0.0, choice=choice)
    norm: Any = optim.gradient_norm
    if config.optimizer_in_backward:
        optimizer = Early(model, optimizer, lambda: 1e-3, CPU)
        norm = optimizer.norm
    feed = Feed(ROWS, 0, 8, config.grad_accum, 0, packed=config.packing)
    job = Job(
        model=model,
        optimizer=optimizer,
        feed=feed,
        schedule=SCHEDULE,
        clip=config.clip,
        eval_every=9,
        save_every=0,
        device=CPU,
        autocast=nullcontext
        if compute == "fp32"
        else partial(torch.autocast, "cpu", torch.bfloat16),
        measured_steps=frozenset(),
        observer=None,  # type: ignore[arg-type]  # nobody is told: `train` does not run
        go_on=lambda: True,
        state=State(),
        loss=partial(loss_sum, kind=config.loss),
        norm=norm,
    )
    train_step(job, 1, SilentMeter())
    with measured(model, optimizer, CPU, wanted=True) as (meter, memory):
        train_step(job, 2, meter)
    assert memory is not None
    shape = max(feed.shapes(2), key=lambda found: found.rows * found.length)
    return memory, predict(known, config, compute, shape)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(
    "choices",
    [
        {"loss": "full"},
        {"loss": "chunked"},
        {"loss": "linear"},
        {"checkpointing": "full"},
        {"checkpointing": "selective"},
        {"checkpointing": "selective", "compute": "bf16"},
        {"compute": "bf16"},
        {"compute": "bf16", "checkpointing": "full"},
        {"fused": False},
        {"fused": False, "compute": "bf16"},
        {"fused": False, "checkpointing": "full"},
        {"grad_accum": 2},
        {"grad_accum": 2, "checkpointing": "full"},
        {"optimizer": "sgd"},
        {"optimizer_in_backward": True, "clip": 0.0},
    ],
    ids=str,
)
def test_a_step_holds_what_was_predicted(choices: dict[str, Any], packing: bool) -> None:
    memory, predicted = step(packing=packing, **choices)
    assert memory.peak_bytes == pytest.approx(predicted.peak_bytes, rel=0.03)


def test_packing_lowers_the_peak() -> None:
    padded, packed = step(packing=False)[0], step(packing=True)[0]
    assert packed.peak_bytes < 0.9 * padded.peak_bytes


def test_every_choice_reaches_the_memory_model() -> None:
    config = resolve(
        {
            "model": "x",
            "data": "y",
            "loss": "chunked",
            "checkpointing": "selective",
            "optimizer": "sgd",
            "momentum": 0.9,
            "compile": True,
            "optimizer_in_backward": True,
            "grad_accum": 1,
            "clip": 0.0,
        }
    )
    found = recipe(config, "fp32", Shape(1, 10, 5))
    assert (found.loss, found.checkpointing, found.kernels) == ("chunked", "selective", "fused")
    assert (found.optimizer, found.moments) == ("sgd_momentum", "fp32")
    assert found.optimizer_in_backward
    assert not found.activation_offload


def test_the_heaviest_step_is_not_the_first_where_another_is_as_heavy() -> None:
    feed = Feed(ROWS[:4], 0, 2, 2, 0)
    config = resolve({"model": "x", "data": "y"})
    number, _ = heaviest(feed, 40, None, config, "fp32")
    assert number > 1


def test_an_update_of_ours_widens_some_rows_however_large_the_tensor() -> None:
    sizes = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 32, "intermediate_size": 4096, "vocab_size": 128_000}
    model = ModelConfig.from_hf(sizes)
    config = resolve({"model": "x", "data": "y", "optimizer": "adafactor"})
    update = predict(model, config, "fp32", Shape(1, 10, 5)).instants["optimizer_step"]
    assert update["workspace"] == 2 * 4 * 2**22

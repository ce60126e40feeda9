"""Training is the same with and without watching: weights, random numbers, what Dynamo compiles."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import random
import shutil
import warnings
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.eval_frame import OptimizedModule
from torch._dynamo.utils import counters
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torchao.optim import AdamW8bit
from transformers import Trainer, TrainingArguments, default_data_collator

import run_process
import tiny_llama
import unfrozen
from conftest import matrix
from watched_loops import model_of, series, small, steps, train

pytestmark = pytest.mark.slow

WIDTH = 16
BACKEND = "eager"  # others take minutes to compile the graphs that Dynamo finds


class Block(nn.Module):
    """A block with dropout, which draws random numbers in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x + self.drop(self.down(torch.relu(self.up(x))))
        return found


class Network(nn.Module):
    """Two blocks between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(32, WIDTH), nn.Linear(WIDTH, 32)
        self.blocks = nn.ModuleList(Block() for _ in range(2))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)
        found: torch.Tensor = self.head(x)
        return found


def next_token(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def compile_block(model: Any) -> Any:
    model.blocks[0] = torch.compile(model.blocks[0], backend=BACKEND)
    return model


def compile_in_place(model: Any) -> Any:
    model.compile(backend=BACKEND, fullgraph=True)
    return model


COMPILES: dict[str, Callable[[Any], Any]] = {
    "eager": lambda model: model,
    "torch.compile": lambda model: torch.compile(model, backend=BACKEND),
    "fullgraph": lambda model: torch.compile(model, backend=BACKEND, fullgraph=True),
    "model.compile": compile_in_place,
    "a block": compile_block,
}
LOSSES: dict[str, Any] = {
    "a loss": next_token,
    "a compiled loss": torch.compile(next_token, backend=BACKEND),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2),
    "fused": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=1e-1, momentum=0.9),
}
CASES = [
    *product(COMPILES, LOSSES, OPTIMIZERS, ("first", "after")),
    *product(("torch.compile", "model.compile"), ("a loss",), ("compiled step",), ("first",)),
]
OPTIMIZERS["compiled step"] = OPTIMIZERS["adamw"]


def generators() -> list[Any]:
    """The states of Python's, numpy's and torch's random numbers."""
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


def patchable(model: Any) -> list[Any]:
    """What watching might leave behind."""
    functions = torch.autograd.backward, torch.autograd._engine_run_backward
    more = nn.Module.compile, OptimizedModule.__call__, torch.amp.GradScaler.scale
    hooks = [dict(one) for one in (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)]
    own = sorted(key for key, value in vars(model).items() if value is not None)
    return [*functions, *more, torch.nn.utils.clip_grad_norm_, *hooks, own]


def trained(place: Path | None, compiled: str, loss: str, rule: str, when: str) -> list[Any]:
    """All that training leaves behind; it is watched where a place for the run is given."""
    torch._dynamo.reset()
    counters.clear()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    model: Any = Network()
    optimizer = OPTIMIZERS[rule](model)
    step: Any = optimizer.step
    if rule == "compiled step":
        step = torch.compile(step, backend=BACKEND)
    called = COMPILES[compiled](model) if when == "after" else model
    before = patchable(model)
    run = None if place is None else unfrozen.watch(called, optimizer, runs=place)
    with run or nullcontext():
        called = COMPILES[compiled](model) if when == "first" else called
        for _ in range(4):
            ids = torch.randint(32, (2, random.randint(7, 8))).add(np.random.randint(1)) % 32
            LOSSES[loss](called(ids), ids).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            step()
            optimizer.zero_grad()
    if run is not None:
        assert len(series(run, "train/loss")) == 4
        assert patchable(model)[:-1] == before[:-1]
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    graphs = [dict(counters[kind]) for kind in ("stats", "graph_break")]
    return [weights, generators(), graphs, patchable(model)[-1]]


@cache
def alone(*case: str) -> list[Any]:
    return trained(None, *case)


@pytest.mark.parametrize(
    ("compiled", "loss", "rule", "when"),
    matrix(
        CASES,
        ("torch.compile", "a loss", "sgd", "first"),
        ("model.compile", "a compiled loss", "adamw", "first"),
    ),
)
def test_watching_changes_nothing(
    tmp_path: Path, compiled: str, loss: str, rule: str, when: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watched = trained(tmp_path, compiled, loss, rule, when)
        assert watched == alone(compiled, loss, rule, when)


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "replica": lambda model: replica(model),
}


def replica(model: Any) -> Any:
    """What DataParallel calls on another device; it gives it weights of its own."""
    found = model._replicate_for_data_parallel()
    found._parameters = model._parameters
    return found


def saved(model: Any) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("kind", [*COPIES, "torch.save"])
def test_a_copy_of_a_watched_model_is_not_watched(tmp_path: Path, kind: str) -> None:
    model, optimizer = small()
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        steps(model, optimizer)
        assert b"gpu_runner" not in pickle.dumps(model)
        assert b"gpu_runner" not in pickle.dumps(optimizer)
        copied = COPIES.get(kind, saved)(model)
        for number in range(3):
            assert torch.equal(copied(torch.ones(2, 4)), model(torch.ones(2, 4))), number
            copied(torch.ones(2, 4)).sum().backward()
        optimizer.zero_grad()
        steps(model, optimizer)
    assert len(series(run, "train/loss")) == 4
    assert series(run, "train/samples") == [2, 4, 6, 8]


def sum_of_weights(model: Any, place: str) -> None:
    Path(place).write_text(str(sum(float(p.detach().sum()) for p in model.parameters())))


def test_a_watched_model_is_sent_to_another_process(tmp_path: Path) -> None:
    model, optimizer = small()
    with unfrozen.watch(model, optimizer, runs=tmp_path):
        steps(model, optimizer)
        child = run_process.children().Process(
            target=sum_of_weights, args=(model, str(tmp_path / "sum"))
        )
        child.start()
        child.join()
    assert (tmp_path / "sum").read_text() == str(
        sum(float(p.detach().sum()) for p in model.parameters())
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first first", "last first"])
def test_two_runs_closed_in_any_order_leave_nothing(tmp_path: Path, order: tuple[int, int]) -> None:
    models = [small(), small()]
    before = [patchable(model) for model, _ in models]
    runs = [unfrozen.watch(*one, runs=tmp_path) for one in models]
    for one in models:
        steps(*one)
    for count, index in enumerate(order, 2):
        runs[index].close()
        assert len(series(runs[index], "train/loss")) == count
        steps(*models[1 - index], count=1)
    assert [patchable(model) for model, _ in models] == before
    alive = [weakref.ref(one) for one in runs]
    del runs
    gc.collect()
    assert [one() for one in alive] == [None, None]


def test_a_wrapper_around_ours_keeps_nothing_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = small()
    run = unfrozen.watch(model, optimizer, runs=tmp_path)
    ours = nn.utils.clip_grad_norm_
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *args: ours(*args))
    steps(model, optimizer)
    run.close()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    alive = weakref.ref(run)
    del run
    gc.collect()
    assert alive() is None


def trainer_weights(place: Path, callbacks: list[Any], **options: Any) -> list[Any]:
    """The weights of a compiled Trainer, and what Dynamo compiled."""
    torch._dynamo.reset()
    counters.clear()
    rows = [{"input_ids": [1] + [n % 60 + 3] * 15, "labels": [n % 60 + 3] * 16} for n in range(24)]
    settings: dict[str, Any] = {
        **{"max_steps": 3, "per_device_train_batch_size": 4, "report_to": [], "use_cpu": True},
        **{"save_strategy": "no", "disable_tqdm": True, "seed": 3},
    }
    arguments = TrainingArguments(str(place / "out"), **settings, **options)
    model = model_of("gpt2")
    more: dict[str, Any] = {"data_collator": default_data_collator, "callbacks": callbacks}
    Trainer(model, arguments, train_dataset=rows, **more).train()
    graphs = [dict(counters[kind]) for kind in ("stats", "graph_break")]
    return [{name: value.tolist() for name, value in model.state_dict().items()}, graphs]


@pytest.mark.matrix  # a Trainer that compiles imports all of inductor
@pytest.mark.parametrize(
    "options",
    [
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"torch_compile": True, "torch_compile_backend": "inductor"},
        {"gradient_accumulation_steps": 2, "bf16": True},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_trainer_that_compiles_compiles_the_same(tmp_path: Path, options: Any) -> None:
    callback = unfrozen.Callback(runs=tmp_path)
    watched = trainer_weights(tmp_path, [callback], **options)
    assert len(series(callback.run, "train/loss")) == 3
    assert watched == trainer_weights(tmp_path, [], **options)


@pytest.mark.matrix  # torchao has its update compiled by inductor
@pytest.mark.skipif(shutil.which("g++") is None, reason="torchao compiles C++")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("measure", [True, False])
def test_an_optimizer_with_8_bit_states_of_its_own_kind_is_left_alone(
    tmp_path: Path, measure: bool
) -> None:
    def weights(watched: bool) -> list[Any]:
        model: Any = tiny_llama.model(vocab_size=128, hidden_size=128, intermediate_size=128)
        optimizer: Any = AdamW8bit(model.parameters(), lr=1e-3)
        given: Any = {"runs": tmp_path, "measure": measure, "name": "mine"}
        with unfrozen.watch(model, optimizer, **given) if watched else nullcontext():
            train(model, optimizer, 4)
        return [p.tolist() for p in model.parameters()]

    assert weights(watched=True) == weights(watched=False)
    assert len(series(tmp_path / "mine", "train/loss")) == 4

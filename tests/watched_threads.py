"""Small loops of many kinds that train in several threads of one process, watched or not.

python tests/watched_threads.py RUNS LOOPS WATCHERS
"""

from __future__ import annotations

import itertools
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint

import unfrozen

STEPS = 6
SEEDS = 4


class Checkpointed(nn.Module):
    """Two layers, the first of which is computed again in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 1)
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: Any = checkpoint(self.first, x.requires_grad_(), use_reentrant=self.reentrant)
        found: torch.Tensor = self.last(torch.relu(hidden))
        return found


class SparseProduct(nn.Module):
    """A weight times a sparse matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = x @ torch.sparse.mm(torch.eye(8).to_sparse(), self.weight)
        return found


def layers() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "layers": layers,
    "accumulation": layers,
    "autocast": layers,
    "optimizer in backward": layers,
    "double backward": layers,
    "sparse embedding": lambda: nn.Sequential(nn.Embedding(8, 4, sparse=True), nn.Linear(4, 1)),
    "bag": lambda: nn.Sequential(nn.EmbeddingBag(8, 4, sparse=True), nn.Linear(4, 1)),
    "sparse product": SparseProduct,
    "checkpointing": lambda: Checkpointed(reentrant=False),
    "reentrant checkpointing": lambda: Checkpointed(reentrant=True),
    "complex": lambda: nn.Sequential(nn.Linear(8, 4, dtype=torch.complex64)),
    "jit": lambda: torch.jit.script(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))),
}
IDS = ("sparse embedding", "bag")
LOOPS = [(kind, seed) for seed in range(SEEDS) for kind in MODELS]


def made(kind: str, seed: int) -> Any:
    """A new model, before there are threads: its weights are drawn from what they share."""
    torch.manual_seed(seed)
    return MODELS[kind]()


def train(kind: str, seed: int, model: Any, runs: Path | None = None) -> list[torch.Tensor]:
    """The weights after a few steps; the loop is watched where runs are to be written."""
    draw = torch.Generator().manual_seed(seed)
    optimizers = [torch.optim.SGD([one], lr=0.05) for one in model.parameters()]
    run = unfrozen.watch(model, optimizers, runs=runs) if runs is not None else None
    in_backward = kind == "optimizer in backward"
    if in_backward:
        for one, optimizer in zip(model.parameters(), optimizers, strict=True):
            one.register_post_accumulate_grad_hook(lambda _, own=optimizer: own.step())
    with run or nullcontext():
        for _ in range(STEPS):
            for _ in range(1 + (kind == "accumulation")):
                _pass(kind, model, draw)
            for optimizer in optimizers:
                if not in_backward:
                    optimizer.step()
                optimizer.zero_grad()
    assert not _get_current_dispatch_mode_stack()
    return [one.detach().clone() for one in model.parameters()]


def _pass(kind: str, model: Any, draw: torch.Generator) -> None:
    x = torch.randn(4, 8, generator=draw)
    if kind in IDS:
        x = torch.randint(8, (4, 3), generator=draw)
    if kind == "complex":
        x = x.to(torch.complex64)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        loss = model(x).abs().square().mean().float()
    if kind == "double backward":
        grads = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        loss = loss + 0.01 * sum((one.square().sum() for one in grads), torch.zeros(()))
    loss.backward()


def train_in_threads(runs: Path, most: int, watchers: int = 4, threads: int = 4) -> None:
    """Train so many loops, in the first few threads watched, and compare them with those alone.

    Raises AssertionError where a loop raises, or its weights or the random numbers differ.
    """
    torch.set_num_threads(1)
    alone = {one: train(*one, made(*one)) for one in LOOPS[:most]}
    given = iter([(one, made(*one)) for one in itertools.islice(itertools.cycle(alone), most)])
    problems: list[str] = []
    state, lock = torch.get_rng_state(), threading.Lock()

    def work(number: int) -> None:
        while not problems:
            with lock:
                one, model = next(given, (None, None))
            if one is None:
                return
            try:
                found = train(*one, model, runs if number < watchers else None)
                if not all(map(torch.equal, found, alone[one])) or not found[0].isfinite().all():
                    problems.append(f"{one} differs")
            except BaseException:
                problems.append(f"{one}: {traceback.format_exc()}")

    started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert not problems, problems[0]
    assert torch.equal(torch.get_rng_state(), state)


if __name__ == "__main__":
    train_in_threads(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

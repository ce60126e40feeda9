"""Weights in parts: FSDP2 itself foretells what its step holds, and real processes hold it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

import run_process
import tiny_llama
import unfrozen
from gpu_runner.train.measure import known_bytes
from gpu_runner.watch.memory import in_parts
from gpu_runner.watch.memory.foretelling import Given, Habits, foretell
from gpu_runner.watch.memory.metering import States
from gpu_runner.world import local
from watched_loops import alerts, batches, events, model_of, rows

pytestmark = pytest.mark.slow

CLOSE = 0.03
NARROW = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
MODEL = {"num_hidden_layers": 2}  # n_layer is another's, and stays as it is
TWO: dict[str, dict[str, Any]] = {
    "llama": {"watch": {"task": rows(2), "tokenizer": tiny_llama.tokenizer()}},
    "qwen3 in 16 bits": {"family": "qwen3", "mp_policy": NARROW},
    "gpt2 that stays whole until the backward pass": {
        "family": "gpt2",
        "mp_policy": NARROW,
        "reshard_after_forward": False,
    },
    "micro-batches that wait to be summed": {"mp_policy": NARROW, "parts": 3, "waits": "whole"},
    "ends apart, and layers computed twice": {"apart": True, "again": True, "rows": 8},
    "norms that are ignored, and the first process alone": {"ignores": "norm", "watchers": 1},
    "micro-batches of a loop that evaluates": {"evaluates": True, "parts": 2},
}
FOUR: dict[str, dict[str, Any]] = {
    "copies that are summed last": {"mp_policy": NARROW, "parts": 2, "waits": "parts"}
}


def cut(mesh: DeviceMesh, case: dict[str, Any]) -> Any:
    """A model, cut as a case has it."""
    family = case.get("family", "llama")
    model = model_of(family, **({} if family == "gpt2" else MODEL))
    if case.get("again"):
        model.activation_checkpointing_enable({"use_reentrant": False})
    how: dict[str, Any] = {"mesh": mesh}
    how |= {name: case[name] for name in ("mp_policy", "reshard_after_forward") if name in case}
    if "ignores" in case:
        named = model.named_parameters()
        how["ignored_params"] = {p for name, p in named if case["ignores"] in name}
    for block in model.transformer.h if family == "gpt2" else model.model.layers:
        fully_shard(block, **how)
    if case.get("apart"):
        fully_shard(model.model.embed_tokens, **how)
        fully_shard([model.model.norm, model.lm_head], **how)
    return fully_shard(model, **how)


def train(model: Any, optimizer: torch.optim.Optimizer, rank: int, case: dict[str, Any]) -> None:
    """Two steps of a loop of one's own."""
    parts, waits = case.get("parts", 1), case.get("waits", "")
    given = batches(2 * parts, case.get("rows", 1), 64, seed=rank)
    for number, batch in enumerate(given, 1):
        last = number % parts == 0
        if waits == "whole":
            model.set_requires_gradient_sync(last)
        elif waits:
            model.set_requires_all_reduce(last)
        if case.get("evaluates"):
            with torch.no_grad():
                model(**batch)
        output = model(**batch)
        (output.loss / parts).backward()
        if last:
            optimizer.step()
            optimizer.zero_grad()


def measured(mesh: DeviceMesh, place: Path, name: str, case: dict[str, Any]) -> Any:
    """What a case was foretold to hold and held, by instant; None where that is not told."""
    rank = torch.distributed.get_rank()
    model = cut(mesh, case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=False)
    if rank >= case.get("watchers", 4):
        return train(model, optimizer, rank, case)
    options = {"runs": place, "name": name.replace(" ", "-"), **case.get("watch", {})}
    with unfrozen.watch(model, optimizer, **options) as run:
        train(model, optimizer, rank, case)
    if rank:
        return None
    told = events(run, "predicted")
    return {
        "predicted": [one["predicted"]["instants"] for one in told],
        "measured": {one["instant"]: one["components"] for one in events(run, "mem")},
        "ratio": events(run, "run.end")[0]["summary"]["memory_ratio"],
        "alerts": alerts(run),
    }


def untouched(mesh: DeviceMesh) -> dict[str, bool]:
    """What is afterwards as it was before."""
    model = cut(mesh, {})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    (batch,) = batches(1)
    model(**batch).loss.backward()
    before = [local(p.detach()).clone() for p in model.parameters()]
    gradients = [p.grad for p in model.parameters()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    owned = known_bytes(in_parts.Owned(model), optimizer)  # type: ignore[arg-type]
    with torch.no_grad():
        model(**batch)
    gathered = known_bytes(in_parts.Owned(model), optimizer)  # type: ignore[arg-type]
    foretell(model, States(optimizer), Given.of(batch), Habits(waiting="whole"))
    in_parts.let_go(model, [])
    weights = zip(before, model.parameters(), strict=True)
    return {
        "weights": all(torch.equal(old, local(new)) for old, new in weights),
        "gradients": all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True)),
        "hooks": hooks == [len(module._forward_hooks) for module in model.modules()],
        "what it does": isinstance(model, FSDPModule) and in_parts.waiting(model) == "",
        "what it owns": owned == gathered,
        "what is gathered": in_parts.gathered_now(model) == [],
    }


def obstacles() -> list[str]:
    """Why four models cannot be foretold: one that is whole, and three that are cut otherwise."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    found = [in_parts.obstacle(model_of())]
    model = model_of()
    parallelize_module(model.model.layers[0].mlp.up_proj, mesh["tensor"], ColwiseParallel())
    found.append(in_parts.obstacle(model))
    found.append(in_parts.obstacle(fully_shard(model, mesh=mesh["data"])))
    over = init_device_mesh("cpu", (4,))
    found.append(in_parts.obstacle(cut(over, {"reshard_after_forward": 2})))
    return found


def answer(given: tuple[str, tuple[int, ...], Path]) -> None:
    """What one process does; the first writes down what was found."""
    which, shape, place = given
    with joined() as first:
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "parts")[-len(shape) :])
        cases = TWO if which == "two" else FOUR
        found: dict[str, Any] = {n: measured(mesh, place, n, case) for n, case in cases.items()}
        more: Callable[[], Any] = obstacles if which == "four" else lambda: untouched(mesh)
        found["more"] = more()
        if first:
            (place / f"{which}.json").write_text(json.dumps(found), "utf-8")


@contextmanager
def joined() -> Iterator[bool]:
    """This process among the others; whether it is the first."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    try:
        yield torch.distributed.get_rank() == 0
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


def found_by(which: str, shape: tuple[int, ...], size: int, place: Path) -> dict[str, Any]:
    """What so many processes found."""
    for child in run_process.together(answer, (which, shape, place), size):
        child.join(300)
        assert child.exitcode == 0
    read: dict[str, Any] = json.loads((place / f"{which}.json").read_text("utf-8"))
    return read


@pytest.fixture(scope="module")
def two(kept: Path) -> dict[str, Any]:
    """Two processes, each with a half of every weight."""
    return found_by("two", (2,), 2, kept)


@pytest.fixture(scope="module")
def four(kept: Path) -> dict[str, Any]:
    """Two copies of a model, each in two parts."""
    return found_by("four", (2, 2), 4, kept)


def holds_what_was_foretold(found: dict[str, Any]) -> None:
    """At every instant, and the same components where their kind is certain."""
    predicted, held = found["predicted"][-1], found["measured"]
    assert found["ratio"] == pytest.approx(1, abs=CLOSE)
    for instant, parts in held.items():
        assert sum(parts.values()) == pytest.approx(sum(predicted[instant].values()), rel=CLOSE)
        for name in ("params", "grads", "gathered"):
            assert parts.get(name, 0) == pytest.approx(predicted[instant].get(name, 0), rel=CLOSE)
    assert predicted["backward"]["gathered"] > 0


@pytest.mark.parametrize("name", TWO)
def test_a_process_holds_what_was_foretold_for_its_part(name: str, two: dict[str, Any]) -> None:
    holds_what_was_foretold(two[name])
    assert two[name]["alerts"] == "Its weights are spread over processes: drift is not measured."


@pytest.mark.parametrize("name", FOUR)
def test_copies_in_parts_hold_what_was_foretold(name: str, four: dict[str, Any]) -> None:
    holds_what_was_foretold(four[name])


def test_that_gradients_wait_is_seen_before_the_first_step(two: dict[str, Any]) -> None:
    first = two["micro-batches that wait to be summed"]["predicted"][0]
    assert first == two["micro-batches that wait to be summed"]["predicted"][-1]
    assert len(two["micro-batches of a loop that evaluates"]["predicted"]) == 2  # that was not


def test_the_model_is_as_it_was(two: dict[str, Any]) -> None:
    assert two["more"] == dict.fromkeys(two["more"], True)


def test_an_fsdp2_with_other_names_leaves_the_loop_alone() -> None:
    class Renamed(FSDPModule, torch.nn.Linear):
        def _get_fsdp_state(self) -> Any:
            return object()

    module: Any = torch.nn.Linear(2, 2)
    module.__class__ = Renamed  # as `fully_shard` does it
    assert in_parts.waiting(module) == ""
    assert in_parts.gathered_now(module) == []
    assert list(in_parts.Owned(module).parameters()) == list(module.parameters())
    with pytest.raises(AttributeError):
        in_parts.obstacle(module)


def test_a_model_that_is_cut_otherwise_is_not_foretold_and_it_is_said_why(
    four: dict[str, Any],
) -> None:
    assert four["more"] == [
        "",
        "some are cut otherwise than by fully_shard",
        "some are cut twice, as by tensor parallelism",
        "reshard_after_forward is a number",
    ]

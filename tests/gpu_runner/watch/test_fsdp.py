"""Sharded models: the step of FSDP2 is predicted, and real processes need that much."""

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
from gpu_runner.memory import fsdp
from gpu_runner.memory.loop import (
    LoopBehavior,
    LoopStep,
    Optimizers,
    StepInputs,
    predict_loop_step,
)
from gpu_runner.memory.tracker import known_bytes
from gpu_runner.world import local
from watched_loops import alerts, batches, events, model_of, rows

pytestmark = pytest.mark.slow

CLOSE = 0.03
NARROW = MixedPrecisionPolicy(torch.bfloat16, torch.float32)
TWO: dict[str, dict[str, Any]] = {
    "llama, watched by both": {
        "watchers": 2,
        "watch": {"task": rows(2), "tokenizer": tiny_llama.tokenizer()},
    },
    "gpt2 without resharding after forward": {
        "family": "gpt2",
        "mp_policy": NARROW,
        "reshard_after_forward": False,
    },
    "micro-batches without gradient sync": {
        "family": "qwen3",
        "mp_policy": NARROW,
        "parts": 3,
        "defers": "gradient_sync",
    },
    "embedding and head apart, with checkpointing": {"apart": True, "again": True, "rows": 8},
    "ignored norms": {"ignores": "norm"},
    "micro-batches of a loop that evaluates": {"evaluates": True, "parts": 2},
}
FOUR: dict[str, dict[str, Any]] = {
    "replicas that are reduced last": {"mp_policy": NARROW, "parts": 2, "defers": "all_reduce"}
}


def shard(mesh: DeviceMesh, case: dict[str, Any]) -> Any:
    """Return a model sharded as the case says."""
    family = case.get("family", "llama")
    model = model_of(family, **{"n_layer" if family == "gpt2" else "num_hidden_layers": 2})
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
    """Take two steps of a custom loop."""
    parts, defers = case.get("parts", 1), case.get("defers", "")
    given = batches(2 * parts, case.get("rows", 1), 64, seed=rank)
    for number, batch in enumerate(given, 1):
        last = number % parts == 0
        if defers == "gradient_sync":
            model.set_requires_gradient_sync(last)
        elif defers:
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
    """Return the predicted and measured memory of a case; None in all processes but the first."""
    rank = torch.distributed.get_rank()
    model = shard(mesh, case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=False)
    if rank >= case.get("watchers", 1):
        return train(model, optimizer, rank, case)
    options = {"runs": place, "name": name.replace(" ", "-"), **case.get("watch", {})}
    with unfrozen.watch(model, optimizer, **options) as run:
        train(model, optimizer, rank, case)
    if rank:
        return None
    predicted = events(run, "predicted")
    return {
        "predicted": [one["predicted"]["instants"] for one in predicted],
        "measured": {one["instant"]: one["components"] for one in events(run, "mem")},
        "ratio": events(run, "run.end")[0]["summary"]["memory_ratio"],
        "alerts": alerts(run),
    }


def check_unchanged(mesh: DeviceMesh) -> dict[str, bool]:
    """Return what a prediction left unchanged."""
    model = shard(mesh, {})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    (batch,) = batches(1)
    model(**batch).loss.backward()
    before = [local(p.detach()).clone() for p in model.parameters()]
    gradients = [p.grad for p in model.parameters()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    owned = known_bytes(fsdp.ShardView(model), optimizer)  # type: ignore[arg-type]
    with torch.no_grad():
        model(**batch)
    gathered = known_bytes(fsdp.ShardView(model), optimizer)  # type: ignore[arg-type]
    behavior = LoopBehavior(deferred_sync="gradient_sync")
    predict_loop_step(LoopStep(model, Optimizers(optimizer), StepInputs.of(batch), behavior))
    fsdp.reshard_all_except(model, [])
    weights = zip(before, model.parameters(), strict=True)
    return {
        "weights": all(torch.equal(old, local(new)) for old, new in weights),
        "gradients": all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True)),
        "hooks": hooks == [len(module._forward_hooks) for module in model.modules()],
        "what it does": isinstance(model, FSDPModule) and fsdp.deferred_sync(model) == "",
        "what it owns": owned == gathered,
        "what is gathered": fsdp.gathered_parameters(model) == [],
    }


def find_obstacles() -> list[str]:
    """Return why four models cannot be predicted: one unsharded, three sharded otherwise."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    found = [fsdp.find_obstacle(model_of())]
    model = model_of()
    parallelize_module(model.model.layers[0].mlp.up_proj, mesh["tensor"], ColwiseParallel())
    found.append(fsdp.find_obstacle(model))
    found.append(fsdp.find_obstacle(fully_shard(model, mesh=mesh["data"])))
    over = init_device_mesh("cpu", (4,))
    found.append(fsdp.find_obstacle(shard(over, {"reshard_after_forward": 2})))
    return found


def run_cases(given: tuple[str, tuple[int, ...], Path]) -> None:
    """Run all cases in one process; the first one writes the results."""
    which, shape, place = given
    with process_group() as first:
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("copies", "parts")[-len(shape) :])
        cases = TWO if which == "two" else FOUR
        found: dict[str, Any] = {n: measured(mesh, place, n, case) for n, case in cases.items()}
        more: Callable[[], Any] = (
            find_obstacles if which == "four" else lambda: check_unchanged(mesh)
        )
        found["more"] = more()
        if first:
            (place / f"{which}.json").write_text(json.dumps(found), "utf-8")


@contextmanager
def process_group() -> Iterator[bool]:
    """Join the process group; yield whether this is the first process."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    try:
        yield torch.distributed.get_rank() == 0
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


def results_of(which: str, shape: tuple[int, ...], size: int, place: Path) -> dict[str, Any]:
    """Return the results of `size` processes."""
    for child in run_process.together(run_cases, (which, shape, place), size):
        child.join()
        assert child.exitcode == 0
    read: dict[str, Any] = json.loads((place / f"{which}.json").read_text("utf-8"))
    return read


@pytest.fixture(scope="module")
def two(cached: Path) -> dict[str, Any]:
    """Two processes with a half of every weight each."""
    return results_of("two", (2,), 2, cached)


@pytest.fixture(scope="module")
def four(cached: Path) -> dict[str, Any]:
    """Two replicas of a model in two shards each."""
    return results_of("four", (2, 2), 4, cached)


def assert_predicted(found: dict[str, Any]) -> None:
    """Check every instant, and the components that are known exactly.

    A busy machine may hold what one unit gathered a moment longer: gloo frees it late.
    """
    predicted, measured = found["predicted"][-1], found["measured"]
    late = max(parts.get("gathered", 0) for parts in predicted.values())
    totals = {instant: sum(parts.values()) for instant, parts in predicted.items()}
    assert 1 - CLOSE < found["ratio"] < 1 + CLOSE + late / max(totals.values())
    for instant, parts in measured.items():
        total = totals[instant]
        assert (1 - CLOSE) * total < sum(parts.values()) < (1 + CLOSE) * total + late
        for name in ("params", "grads", "gathered"):
            assert parts.get(name, 0) == pytest.approx(predicted[instant].get(name, 0), rel=CLOSE)
    assert predicted["backward"]["gathered"] > 0


@pytest.mark.parametrize("name", TWO)
def test_a_process_needs_what_was_predicted_for_its_shard(name: str, two: dict[str, Any]) -> None:
    assert_predicted(two[name])
    assert two[name]["alerts"] == "Drift is not measured: the weights are sharded."


@pytest.mark.parametrize("name", FOUR)
def test_replicas_need_what_was_predicted(name: str, four: dict[str, Any]) -> None:
    assert_predicted(four[name])


def test_deferred_sync_is_observed_before_the_first_step(two: dict[str, Any]) -> None:
    first = two["micro-batches without gradient sync"]["predicted"][0]
    assert first == two["micro-batches without gradient sync"]["predicted"][-1]
    assert len(two["micro-batches of a loop that evaluates"]["predicted"]) == 2  # that was not


def test_a_prediction_changes_nothing_in_the_model(two: dict[str, Any]) -> None:
    assert two["more"] == dict.fromkeys(two["more"], True)


def test_another_version_of_fsdp2_leaves_the_loop_alone() -> None:
    class Renamed(FSDPModule, torch.nn.Linear):
        def _get_fsdp_state(self) -> Any:
            return object()

    module: Any = torch.nn.Linear(2, 2)
    module.__class__ = Renamed  # as `fully_shard` does it
    assert fsdp.deferred_sync(module) == ""
    assert fsdp.gathered_parameters(module) == []
    assert list(fsdp.ShardView(module).parameters()) == list(module.parameters())
    with pytest.raises(AttributeError):
        fsdp.find_obstacle(module)


def test_other_sharding_is_not_predicted_and_the_reason_is_given(
    four: dict[str, Any],
) -> None:
    assert four["more"] == [
        "",
        "some are sharded by something other than fully_shard",
        "some are sharded twice, as by tensor parallelism",
        "reshard_after_forward is a number",
    ]

"""Traced steps equal real ones and published traces; jobs that cannot be traced are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import matrix
from docs import trace_grid
from docs.caching_allocator import least_capacity, record_allocations, replay
from docs.traced_job import (
    Trace,
    attach_adapters,
    build_model,
    read_job,
    trace,
    trace_id,
)
from gpu_runner.errors import ModelLoadError, UsageError
from gpu_runner.memory.tracker import StepMemory, measure_step
from unfrozen.job.recipe import Recipe

pytestmark = pytest.mark.slow

MEASUREMENTS = Path(__file__).parents[3] / "web" / "measurements"
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "tie_word_embeddings": False,
}
WEIGHTS = 2 * 500 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64) + 64


def job(model: dict[str, Any] | None = None, **recipe: Any) -> dict[str, Any]:
    """A job in pure bf16, 2 × 32 tokens."""
    pure = {"params": "bf16", "master": None, "micro_batch": 2, "seq_len": 32}
    return {"model": LLAMA | (model or {}), "recipe": pure | recipe}


@pytest.fixture(scope="module")
def plain() -> Trace:
    """The plain job, traced once."""
    return trace(job())


def total(traced: Trace, instant: str) -> int:
    """Bytes of an instant."""
    return sum(traced.instants[instant].values())


def test_a_recorded_process_holds_at_most_what_its_trace_does(plain: Trace) -> None:
    requests = record_allocations(job())
    held: dict[int, int] = {}
    most = 0
    for number, size in requests:
        if size:
            assert number not in held
            held[number] = size
        else:
            del held[number]
        most = max(most, sum(held.values()))
    assert most == plain.peak_bytes
    found = replay(requests)
    assert most <= found.most_allocated <= least_capacity(requests) <= found.most_reserved


def real_step(given: dict[str, Any]) -> StepMemory:
    """The second step of the same job with real tensors, under the runner's own measurement."""
    recipe = Recipe.read(given["recipe"])
    model = build_model(given["model"], recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    for _ in range(2):
        with measure_step(model, optimizer, torch.device("cpu"), wanted=True) as (meter, memory):
            with meter.phase("forward"):
                ids = torch.zeros(recipe.micro_batch, recipe.seq_len, dtype=torch.long)
                loss = model(input_ids=ids, labels=ids, use_cache=False).loss
                del ids
            with meter.phase("backward"):
                loss.backward()
            with meter.phase("optimizer_step"):
                optimizer.step()
            optimizer.zero_grad()
            del loss
    assert memory is not None
    return memory


@pytest.mark.parametrize(("tied", "checkpointing"), [(False, "full"), (True, "none")])
def test_a_traced_step_needs_what_a_real_one_does(*, tied: bool, checkpointing: str) -> None:
    given = job(
        {"tie_word_embeddings": tied}, attention="eager", checkpointing=checkpointing, dropout=0.0
    )
    traced, real = trace(given), real_step(given)
    for instant in ("end_of_forward", "end_of_backward", "optimizer_step"):
        assert total(traced, instant) == pytest.approx(
            sum(real.instants[instant].values()), rel=0.01
        ), instant
    assert traced.peak_bytes == pytest.approx(real.peak_bytes, rel=0.01)


def test_weights_gradients_and_moments_are_exact(plain: Trace) -> None:
    assert plain.num_parameters == WEIGHTS
    assert plain.instants["load"] == {"params": 2 * WEIGHTS + 64}  # the rotary frequencies, twice
    end = plain.instants["end_of_backward"]
    assert end["grads"] == 2 * WEIGHTS
    tensors = 21  # each with a step count of 4 bytes
    assert end["moments"] == 4 * WEIGHTS + 4 * tensors
    assert plain.idle["Gradient"] == 0


def test_the_loss_is_separate_from_activations(plain: Trace) -> None:
    components = plain.instants["end_of_forward"]
    tokens, vocabulary = 2 * 32, 500
    assert components["logits_loss"] == pytest.approx(12 * tokens * vocabulary, rel=0.01)
    assert components["activations"] > 2 * tokens * 4 * 96  # at least the feed-forward part


def test_each_setting_of_the_recipe_changes_what_it_should(plain: Trace) -> None:
    assert "grads" not in plain.instants["end_of_forward"]
    assert plain.instants["optimizer_step"] == plain.instants["end_of_backward"]
    knobs = trace(job(checkpointing="full", grad_accum=2, step="foreach"))
    assert knobs.end_of_forward["Activation"] < 0.7 * plain.end_of_forward["Activation"]
    assert knobs.instants["end_of_forward"]["grads"] == 2 * WEIGHTS
    assert knobs.instants["optimizer_step"]["workspace"] == 2 * WEIGHTS
    autocast = trace(job(params="fp32", compute="bf16", optimizer="sgd", moments=None))
    assert autocast.instants["load"]["params"] == 4 * WEIGHTS + 64
    assert "moments" not in autocast.instants["optimizer_step"]


def test_flash_saves_neither_masks_nor_repeated_keys(plain: Trace) -> None:
    flash = trace(job(attention="flash"))
    masks = 2 * 2 * 2 * 32 * 32  # layers · bytes · rows · keys a query
    repeated = 2 * 2 * 2 * 32 * 2 * (64 - 32)  # layers · bytes · keys and values of 2 more heads
    saved = plain.end_of_forward["Activation"] - flash.end_of_forward["Activation"]
    assert saved == masks + repeated


def test_a_mixture_of_experts_is_traced_without_a_token_being_routed() -> None:
    sparse = {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
    traced = trace(job(sparse))
    assert traced.instants["end_of_backward"]["grads"] == 2 * traced.num_parameters


def lora(**changes: Any) -> dict[str, Any]:
    """A recipe that trains adapters of rank 2 on queries and values."""
    adapter = {"rank": 2, "targets": ["q_proj", "v_proj"], "library": "peft"} | changes
    return job(method="lora", lora=adapter, grads="bf16", moments="bf16")


def test_lora_trains_only_the_adapters() -> None:
    instants = trace(lora()).instants
    parameters = 2 * 2 * ((64 + 64) + (64 + 32))  # layers · rank · (in + out)
    for components in instants.values():
        assert components["adapters"] == 2 * parameters
        assert components["params"] == 2 * WEIGHTS + 64
    assert instants["end_of_backward"]["grads"] == 2 * parameters
    assert instants["end_of_backward"]["moments"] == 4 * parameters + 4 * 8
    with pytest.raises(UsageError, match=r"recipe.lora.targets: got 'x_proj'"):
        trace(lora(targets=["q_proj", "x_proj"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lora(library="litgpt"), "recipe.lora.library: got 'litgpt'; a trace supports peft"),
        (job(master="fp32", moments="fp32"), "recipe.master: got 'fp32'; a trace supports null"),
        (job(kernels="fused"), "recipe.kernels: got 'fused'; a trace supports eager"),
        (
            job(attention="sdpa_masked"),
            "recipe.attention: got 'sdpa_masked'; a trace supports flash",
        ),
        (job(loss="logits_bf16"), "recipe.loss"),
        (job(optimizer="lion"), "recipe.optimizer: got 'lion'; a trace supports adamw, sgd"),
        (job(moments="fp32"), "recipe.moments: got 'fp32'; PyTorch stores them in the dtype"),
        (job(grads="fp32"), "recipe.grads"),
        (
            job() | {"cluster": {"gpus": 8, "sharding": "zero3"}},
            "cluster.gpus: got 8; a trace covers one GPU",
        ),
        (job(seq_len=0), "recipe.seq_len: got 0"),
        (job({"hidden_size": -1}), "model.hidden_size"),
        (
            job({"model_type": "mixtral", "num_local_experts": 4}, params="fp32"),
            "recipe.params: got 'fp32'; experts are traced in bf16",
        ),
    ],
)
def test_what_cannot_be_traced_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_job(given)
    assert message in str(refusal.value)


def test_a_model_that_cannot_be_built_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelLoadError, match=r"transformers cannot build this model: .*num_emb"):
        trace(job({"model_type": "phi3"}))  # its padding token lies beyond 500 rows
    with pytest.raises(ModelLoadError, match="pad_token_id"):
        trace(job({"pad_token_id": "none"}))


def test_a_fresh_adapter_changes_nothing_and_only_adapters_learn() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"q_proj": nn.Linear(8, 8), "other": nn.Linear(8, 8)})
    x = torch.randn(3, 8)
    before = model["q_proj"](x)
    assert attach_adapters(model, ["q_proj"], rank=2, dtype=torch.float32) == {"q_proj"}
    after = model["q_proj"](x)
    assert torch.equal(before, after)
    after.sum().backward()
    learning = [name for name, p in model.named_parameters() if p.grad is not None]
    assert learning == ["q_proj.down.weight", "q_proj.up.weight"]


def test_rows_have_the_keys_of_the_published_traces(plain: Trace) -> None:
    published = json.loads((MEASUREMENTS / "traced.json").read_text())[0]
    row = plain.row(trace_id(plain.job))
    assert row["id"] == "llama-bf16-b2-s32"
    assert set(row) == set(published) | {"instants", "versions"}
    assert set(row["end_of_forward"]) == set(published["end_of_forward"])
    assert row["versions"]["torch"] == torch.__version__


def test_the_grid_has_no_name_twice_and_nothing_a_trace_refuses() -> None:
    rows = list(trace_grid.grid())
    assert len({name for name, _ in rows}) == len(rows) >= 48
    for _, given in rows:
        read_job(given)


def test_the_committed_steps_belong_to_the_grid() -> None:
    wanted = dict(trace_grid.grid())
    rows = json.loads(trace_grid.STEPS.read_text())
    assert len(rows) >= 48
    for row in rows:
        assert row["job"] == wanted[row["id"]], row["id"]
        assert row["peak_bytes"] == max(sum(c.values()) for c in row["instants"].values())


def test_names_contain_what_is_unusual() -> None:
    given = job(attention="eager", checkpointing="full", params="fp32")
    assert trace_id(given, "X") == "X-amp-b2-s32-eager-ckpt"
    assert trace_id(lora()) == "llama-bf16-b2-s32-lora-r2-bf16-q_proj-v_proj"


@pytest.mark.parametrize(
    "name",
    matrix(
        ["SmolLM2-135M-bf16-b4-s1024", "GPT-2-bf16-b4-s1024", "Llama-3.2-1B-bf16-b1-s1024-foreach"],
        "GPT-2-bf16-b4-s1024",
    ),
)
def test_published_traces_are_reproduced_to_the_byte(name: str) -> None:
    (row,) = [r for r in json.loads((MEASUREMENTS / "traced.json").read_text()) if r["id"] == name]
    again = trace(row["job"]).row(name)
    assert {key: again[key] for key in row} == row


def test_committed_steps_are_traced_again_to_the_byte(request: pytest.FixtureRequest) -> None:
    rows = json.loads(trace_grid.STEPS.read_text())
    shallow = [row for row in rows if "-4-layers-" in row["id"]]
    for row in shallow[:: len(shallow) // (6 if request.config.option.all else 1)]:
        assert trace(row["job"]).row(row["id"]) | {"versions": row["versions"]} == row

"""Whole runs with rates by part, added tokens and balanced routers: told, kept, resumed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny_families
import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import UsageError
from gpu_runner.model.load import find, load_tokenizer, read_config
from gpu_runner.plan import plan
from gpu_runner.plan.report import show_plan
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import resume
from resumed_runs import assert_same_result, kinds, said, the_run
from run_process import losses, together, train_here

pytestmark = pytest.mark.slow

NEW = ("<tool>", "<think>")
RATES = (("blocks", 0.5), ("embedding", 0.1))


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3-MoE with as many rows as its tokenizer has tokens."""
    place = tmp_path_factory.mktemp("mixture") / "model"
    tiny_families.model("qwen3_moe", vocab_size=257).save_pretrained(place)
    tiny_llama.tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def tools_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in which one of the new tokens occurs."""
    rows = [{**row, "completion": f"<tool>{row['completion']}"} for row in tiny_llama.sums(40)]
    return tiny_llama.write_rows(tmp_path_factory.mktemp("data") / "tools.jsonl", rows)


@pytest.fixture(scope="module")
def once(
    mixture: Path, tools_file: Path, cats_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainConfig:
    """All of it in one run of six steps, which went to its end."""
    config = resolve(
        {
            **{"model": str(mixture), "data": str(tools_file), "steps": 6, "eval_every": 3},
            **{"general": (("cats", str(cats_file)),), "lr": 1e-2, "sample_tokens": 2},
            **{"runs": str(tmp_path_factory.mktemp("once")), "save_every": 2, "add_tokens": NEW},
            **{"rates": RATES, "decays": (("embedding", 0.0),)},
            **{"router_balance": 0.05, "beta2_tokens": 1000.0},
        }
    )
    fine_tune(config, Console(quiet=True))
    return config


@pytest.fixture
def config(once: TrainConfig, tmp_path: Path) -> TrainConfig:
    """The same, not begun yet."""
    return replace(once, runs=str(tmp_path / "runs"))


def metric(run: Path, name: str) -> list[float]:
    return [event["m"][name] for event in kinds(run, "metrics") if name in event["m"]]


def test_stopped_and_resumed_it_is_the_run_that_was_never_stopped(
    once: TrainConfig, config: TrainConfig, console: Console, stop_after: Callable[[int], Console]
) -> None:
    fine_tune(config, stop_after(4))
    resume(the_run(config), console)
    one, two = the_run(once), the_run(config)
    assert_same_result(one, two)
    for name in ("router/balance_loss", "router/load_max", "router/load_drift"):
        assert metric(one, name) == metric(two, name), name
    assert len(metric(one, "router/balance_loss")) == 6
    assert metric(one, "router/load_drift")[0] == 0.0
    assert metric(one, "router/load_drift")[-1] > 0.0
    assert metric(one, "router/load_min")[-1] <= 1.0 <= metric(one, "router/load_max")[-1]


@pytest.mark.parametrize("early", [False, True], ids=["after backward", "in backward"])
def test_weights_in_cpu_memory_go_on_with_a_resumed_run(
    config: TrainConfig,
    console: Console,
    stop_after: Callable[[int], Console],
    tmp_path: Path,
    early: bool,
) -> None:
    moved = replace(config, optimizer_offload=True, params="bf16", add_tokens=None)
    if early:
        moved = replace(moved, optimizer_in_backward=True, clip=0.0, grad_accum=1)
    whole = replace(moved, runs=str(tmp_path / "whole"))
    fine_tune(whole, console)
    fine_tune(moved, stop_after(4))
    resume(the_run(moved), console)
    assert_same_result(the_run(whole), the_run(moved))
    with safe_open(states_of(the_run(moved)), "pt") as states:
        names = [name for name in states.keys() if name.startswith("master.")]  # noqa: SIM118
        assert {states.get_tensor(name).dtype for name in names} == {torch.float32}


def states_of(run: Path) -> Path:
    """The file of the optimizer in the newest checkpoint of a run."""
    return max(run.glob("checkpoints/*/optimizer.safetensors"))


def test_it_says_what_it_does_before_and_when_it_starts(
    once: TrainConfig, console: Console
) -> None:
    planned = plan.make_plan(once)
    show_plan(console, planned)
    told = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    beta2 = 0.5 ** (planned.trainable_tokens / 6 / 1000)
    for words in (
        "rate × 0.5 for blocks",
        "decay × 0 for embedding (1 of",
        f"beta2_tokens 1000 (β₂ {beta2:.6g})",
        "router balance 0.05",
        "2 tokens added: <tool> (257), <think> (258); the embedding grows from 257 to 259 rows",
        "<think>: in no training example",
    ):
        assert words in told, words
    (event,) = kinds(the_run(once), "run.start")
    assert event["recipe"]["rates"] == dict(RATES)
    assert event["recipe"]["decays"] == {"embedding": 0.0}
    assert event["recipe"]["betas"] == [0.9, pytest.approx(beta2)]
    assert planned.shape is not None
    assert event["model"]["num_parameters"] == planned.shape.num_parameters
    (end,) = kinds(the_run(once), "run.end")
    assert end["summary"]["memory_ratio"] == pytest.approx(1.0, abs=0.05)


def test_the_trained_model_has_the_tokens_and_loads_in_transformers(
    once: TrainConfig, config: TrainConfig, console: Console
) -> None:
    place = the_run(once) / "model"
    model, tokenizer = (
        kind.from_pretrained(place) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    assert len(tokenizer) == 259 == model.config.vocab_size
    assert tokenizer.convert_tokens_to_ids(list(NEW)) == [257, 258]
    rows = model.get_input_embeddings().weight
    assert rows.shape[0] == 259
    assert not torch.equal(rows[257], rows[258])  # one of them was trained on
    assert model.generate(**tokenizer("1+1=<tool>", return_tensors="pt"), max_new_tokens=2).numel()
    again = replace(config, model=str(place))
    with pytest.raises(UsageError, match="'<tool>' is a token of this tokenizer already"):
        fine_tune(again, console)
    fine_tune(replace(again, add_tokens=None), console)
    assert read_config(find(str(place)))[1] is not None


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_token_is_measured_from_where_it_began(
    tied: bool, tools_file: Path, tmp_path: Path, console: Console
) -> None:
    """At a rate of nearly nothing nothing moves, new rows neither."""
    model = tiny_llama.directory(tmp_path / "model", vocab_size=257, tie_word_embeddings=tied)
    given = {"model": str(model), "data": str(tools_file), "general": (), "steps": 2}
    given |= {"lr": 1e-12, "warmup": 0, "sample_tokens": 0, "runs": str(tmp_path / "runs")}
    fine_tune(resolve({**given, "add_tokens": NEW}), console)
    run = the_run(resolve(given))
    assert metric(run, "drift/total")[-1] < 1e-6
    kept = load_file(run / "model" / "model.safetensors")
    rows = kept["model.embed_tokens.weight"]
    torch.testing.assert_close(rows[257], rows[:257].mean(0), rtol=1e-4, atol=1e-6)
    assert ("lm_head.weight" in kept) is not tied
    assert len(load_tokenizer(find(str(run / "model")))) == 259


def test_two_processes_move_parts_at_the_same_rates(
    model_dir: Path, sums_file: Path, tmp_path: Path, console: Console
) -> None:
    given: dict[str, Any] = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    given |= {"steps": 5, "grad_accum": 2, "lr": 3e-3, "sample_tokens": 0}
    given |= {"rates": (("embedding", 0.1), ("norms", 3.0)), "add_tokens": NEW}
    given |= {"decays": (("embedding", 0.0),), "weight_decay": 0.1}
    fine_tune(resolve({**given, "runs": str(tmp_path / "alone")}), console)
    for child in together(train_here, {**given, "runs": str(tmp_path / "both")}):
        child.join()
        assert child.exitcode == 0
    one, two = (the_run(resolve({**given, "runs": str(tmp_path / n)})) for n in ("alone", "both"))
    first, second = losses(one), losses(two)
    for step, pair in first.items():
        assert second[step] == pytest.approx(pair, rel=1e-5), step
    a, b = (load_file(run / "model" / "model.safetensors") for run in (one, two))
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, rtol=0, atol=1e-4 * float(tensor.abs().max()))


def test_two_processes_balance_each_its_own_share(
    mixture: Path, sums_file: Path, tmp_path: Path, console: Console
) -> None:
    given: dict[str, Any] = {"model": str(mixture), "data": str(sums_file), "general": ()}
    given |= {"steps": 4, "grad_accum": 2, "lr": 3e-3, "sample_tokens": 0, "router_balance": 0.1}
    fine_tune(resolve({**given, "runs": str(tmp_path / "alone")}), console)
    for child in together(train_here, {**given, "runs": str(tmp_path / "both")}):
        child.join()
        assert child.exitcode == 0
    one, two = (the_run(resolve({**given, "runs": str(tmp_path / n)})) for n in ("alone", "both"))
    for name in ("router/balance_loss", "router/load_max", "router/load_drift"):
        assert metric(two, name) == pytest.approx(metric(one, name), rel=1e-3, abs=1e-6), name
    assert losses(two)[3] == pytest.approx(losses(one)[3], rel=1e-4)


def test_a_balanced_router_is_more_even_in_the_end(
    mixture: Path, sums_file: Path, tmp_path: Path, console: Console
) -> None:
    given: dict[str, Any] = {"model": str(mixture), "data": str(sums_file), "general": ()}
    given |= {"steps": 15, "eval_every": 15, "lr": 1e-2, "sample_tokens": 0, "save_every": 0}
    busiest = []
    for strength in (0.0, 1.0):
        config = resolve(
            {**given, "router_balance": strength, "runs": str(tmp_path / str(strength))}
        )
        fine_tune(config, console)
        busiest.append(metric(the_run(config), "router/load_max")[-1])
    assert busiest[1] < busiest[0]


def test_rates_that_change_at_a_resume_are_reported(
    config: TrainConfig, console: Console, stop_after: Callable[[int], Console]
) -> None:
    fine_tune(config, stop_after(4))
    run = the_run(config)
    record = run / "config.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "rates": [["head", 0.5]]}))
    resume(run, console)
    assert "Choices that hold from here on: rates [['blocks', 0.5], ['embedding', 0.1]]" in said(
        run
    )
    assert "→ [['head', 0.5]]" in said(run)


@pytest.mark.parametrize(
    ("choices", "said_"),
    [
        ({"rates": (("embeding", 0.1),)}, "did you mean embedding"),
        ({"decays": (("norms", 2.0),)}, "only matrices decay"),
        ({"router_balance": 0.1}, "this model has no experts that a router chooses from"),
        ({"add_tokens": ("</s>",)}, "'</s>' is a token of this tokenizer already"),
    ],
)
def test_what_the_model_has_not_is_refused_before_a_weight_is_loaded(
    choices: dict[str, Any], said_: str, model_dir: Path, sums_file: Path
) -> None:
    given = {"model": str(model_dir), "data": str(sums_file), "general": ()}
    with pytest.raises(UsageError, match=said_):
        plan.make_plan(resolve({**given, **choices}))


def test_compiled_blocks_hide_their_routers(mixture: Path, sums_file: Path) -> None:
    given = {"model": str(mixture), "data": str(sums_file), "compile": True}
    with pytest.raises(
        UsageError, match=r"--router-balance 0\.1: a compiled block hides its router"
    ):
        resolve({**given, "router_balance": 0.1})

"""Weights that a step does not reach: an error that names them, or one of the kinds that may be."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import causal_types
import tiny_families
import tiny_llama
from gpu_runner.cli.application import application
from gpu_runner.data.feed import collate
from gpu_runner.errors import ExitCode, ModelLoadError, UsageError
from gpu_runner.model import attention
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import OptimizerInBackward
from gpu_runner.train.gradients import GradientCheck
from gpu_runner.world import freeze_encoders
from measured_steps import ROWS
from run_process import events

SINKS = {"num_hidden_layers": 3, "num_local_experts": 4}


def checked(model: Any, *allowed: str, early: bool = False) -> None:
    """The check of a step that has gone backward."""
    optimizer: Any = optim.build(model, lr=1e-3, weight_decay=0.0)
    if early:
        optimizer = OptimizerInBackward(model, optimizer, lambda: 1e-3, torch.device("cpu"))
    loss_sum(model, collate(ROWS[:2], 0))[0].backward()
    GradientCheck(allowed)(model, optimizer)


def without_sinks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """gpt-oss with an attention that forgets them."""
    own = attention.attend

    def forgets(*given: Any, **more: Any) -> Any:
        return own(*given, **more | {"s_aux": None})

    monkeypatch.setattr(attention, "attend", forgets)
    return tiny_families.model("gpt_oss", **SINKS)


@pytest.mark.slow
@pytest.mark.parametrize("early", [False, True])
def test_weights_that_nothing_reaches_are_an_error_that_names_them(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, built = without_sinks(monkeypatch), list[Any]()
    own = type(model).__init__

    def build(new: Any, config: Any) -> None:
        built.append(new)
        own(new, config)

    monkeypatch.setattr(type(model), "__init__", build)
    with pytest.raises(ModelLoadError) as refused:
        checked(model, early=early)
    assert len(built) == 1  # a large model with hundreds of them is built no hundred times
    said = str(refused.value)
    assert "3 of 54 weights get no gradient: model.layers.0.self_attn.sinks, model.layers.1" in said
    assert "would be saved as they are" in said
    assert "give --allow-untrained sinks; if it should, please report it." in said


@pytest.mark.slow
def test_what_the_user_has_named_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    checked(without_sinks(monkeypatch), "self_attn.sinks")
    with pytest.raises(UsageError, match="--allow-untrained 'sink' matches no weight of this mod"):
        checked(tiny_families.model("llama"), "sink")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "patterns"),
    [
        ("bart", ["encoder_attn", "encoder_attn_layer_norm"]),
        ("git", ["visual_projection"]),
        ("mllama", ["layers.1"]),
    ],
)
def test_the_fewest_patterns_for_all_of_them_are_proposed(family: str, patterns: list[str]) -> None:
    model = causal_types.model(family)
    freeze_encoders(model)
    with pytest.raises(ModelLoadError) as refused:
        checked(model)
    assert re.findall(r"--allow-untrained ([\w.]+)", str(refused.value)) == patterns
    checked(model, *patterns)


@pytest.mark.slow
def test_a_vision_encoder_may_be_left_out_of_a_run_on_text() -> None:
    model = tiny_families.seeing()
    checked(model)
    model.model.language_model.layers[0].unused = nn.Parameter(torch.zeros(2))
    with pytest.raises(
        ModelLoadError,
        match=r"1 of .* weights get no gradient: model\.language_model\.layers\.0\.unused",
    ):
        checked(model)


@pytest.mark.slow
def test_a_bias_that_corrects_a_router_may_be_left_out() -> None:
    checked(tiny_families.model("ernie4_5_moe").requires_grad_(True))


@pytest.mark.slow
def test_an_expert_without_tokens_may_be_left_out() -> None:
    model = tiny_llama.model()
    model.model.layers[0].experts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    checked(model)


@pytest.mark.slow
def test_a_run_ends_at_its_first_step_before_anything_is_written(
    model_dir: Path, sums_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = attention.attend
    monkeypatch.setattr(
        attention, "attend", lambda one, q, *more, **given: own(one, q.detach(), *more, **given)
    )
    typed = ["train", "--model", str(model_dir), "--data", str(sums_file), "--general", "none"]
    typed += ["--steps", "2", "--no-fused", "--sample-tokens", "0", "--runs", str(tmp_path)]
    found = CliRunner(env={"COLUMNS": "400"}).invoke(application(), typed)
    assert found.exit_code == ExitCode.MODEL
    assert "q_proj.weight" in found.output
    assert "give --allow-untrained q_proj;" in found.output
    (run,) = tmp_path.iterdir()
    assert events(run)[-1]["status"] == "failed"
    assert not [*run.rglob("*.safetensors")]
    done = CliRunner().invoke(application(), [*typed, "--allow-untrained", "q_proj"])
    assert done.exit_code == ExitCode.OK, done.output

"""A tower that does not train: its weights are there, and nothing else of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import Recipe
from unfrozen.memory.explain import explain
from unfrozen.memory.instants import Step
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.model.vision_language import WRAPPERS
from unfrozen.plan import Plan, plan
from unfrozen.planner import glance

SEEING = [name for name, found in CATALOGUE.items() if found.model.tower_parameters]
QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"
TOWER_BYTES = 2 * 676_550_144


def planned(model: str = QWEN, cluster: dict[str, Any] | None = None, **recipe: Any) -> Plan:
    return plan({"model": CATALOGUE[model].config, "recipe": recipe, "cluster": cluster or {}})


@pytest.mark.parametrize("name", SEEING)
def test_what_is_left_is_the_language_model_of_its_file(name: str) -> None:
    config, whole = CATALOGUE[name].config, CATALOGUE[name].model
    text = ModelConfig.from_hf(WRAPPERS[str(config["model_type"])].text(config))
    assert [t.shape for t in whole.language.tensors] == [t.shape for t in text.tensors]
    assert whole.language.num_parameters + whole.language.frozen == whole.num_parameters
    assert whole.language.frozen == whole.tower_parameters > 0
    assert whole.language.architecture.guesses == text.architecture.guesses


@pytest.mark.parametrize("recipe", [{}, {"params": "fp32"}, {"checkpointing": "full"}])
def test_a_step_holds_what_one_of_the_language_model_does_and_the_weights(
    recipe: dict[str, Any],
) -> None:
    config = CATALOGUE[QWEN].config
    text = WRAPPERS["qwen2_5_vl"].text(config)
    alone = plan({"model": text, "recipe": recipe}).instants
    found = planned(**recipe, frozen_tower=True).instants
    width = 4 if recipe.get("params") == "fp32" else 2
    for instant, parts in alone.items():
        more = parts | {"params": parts["params"] + width * 676_550_144}
        assert found[instant] == more, instant


def test_all_of_it_trains_where_nobody_says_otherwise() -> None:
    whole, held = planned(), planned(frozen_tower=True)
    states = [plan.instants["load"] for plan in (whole, held)]
    assert states[0]["params"] == states[1]["params"]
    assert states[0]["master"] - states[1]["master"] == 4 * 676_550_144
    assert "left out here" in whole.job.model.architecture.guesses


def test_gpus_share_it_out() -> None:
    model, recipe = CATALOGUE[QWEN].model, Recipe.read({"frozen_tower": True})
    cluster = Cluster.read({"gpus": 8, "sharding": "zero3"})
    alone, beside = replace(model.language, frozen=0), model.language
    more = [Step(one, recipe, cluster).states["params"] for one in (alone, beside)]
    assert more[1] - more[0] == pytest.approx(TOWER_BYTES / 8, abs=1)


def test_of_a_pipeline_the_first_rank_has_it() -> None:
    model, recipe = CATALOGUE[QWEN].model, Recipe.read({"frozen_tower": True, "grad_accum": 4})
    cluster = Cluster.read({"gpus": 4, "pipeline_parallel": 4})
    alone, beside = replace(model.language, frozen=0), model.language
    for rank, size in ((0, TOWER_BYTES), (1, 0), (3, 0)):
        held = [Step(one, recipe, cluster, rank=rank).states["params"] for one in (alone, beside)]
        assert held[1] - held[0] == size


def test_its_weights_are_in_the_terms_and_in_the_line_of_the_job() -> None:
    found = planned(frozen_tower=True)
    terms = {term.component: term for term in explain(found)}
    assert terms["params"].bytes == found.instants[found.peak_instant]["params"]
    assert dict(terms["params"].inputs)["N"] == "8,292,166,656"
    assert dict(terms["master"].inputs)["N"] == "7,615,616,512"


def test_a_model_without_one_is_as_it_was() -> None:
    model = CATALOGUE["Qwen/Qwen3-8B"].model
    assert model.language is model
    name = "Qwen/Qwen3-8B"
    assert planned(name, frozen_tower=True).instants == planned(name).instants


@pytest.mark.parametrize("framework", ["ms-swift", "LLaMA-Factory"])
def test_some_frameworks_freeze_it(framework: str) -> None:
    found = plan({"model": CATALOGUE[QWEN].config, "framework": framework}).job.framework
    assert found is not None
    assert ("frozen_tower", True) in [(each.key, each.value) for each in found.defaults]
    text = plan({"model": CATALOGUE["Qwen/Qwen3-8B"].config, "framework": framework}).job.framework
    assert text is not None
    assert "frozen_tower" not in {each.key for each in text.defaults}


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_the_runner_trains_the_language_model_beside_it(frozen: str) -> None:
    found: Any = glance({"model": QWEN, "frozen_tower": frozen, "params": "fp32"})
    differs = "Freeze vision tower: on, not off" in found["commands"]["differs"]
    assert differs == (frozen == "false")
    size = "7.62B parameters, 677M frozen" if frozen == "true" else "8.29B parameters"
    assert found["facts"]["size"] == size

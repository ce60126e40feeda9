"""Models of families outside the table, built by transformers for one plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

import unfrozen
from gpu_runner.model import meta_tensors
from gpu_runner.system import foreign
from small_models import SMALL
from unfrozen.__main__ import main
from unfrozen.model import ModelConfig, derived
from unfrozen.model.config import families

pytestmark = pytest.mark.slow

FAMILIES: dict[str, dict[str, Any]] = {
    "diffllama": SMALL,
    "olmo_hybrid": SMALL | {"num_hidden_layers": 4},
    "kimi_linear": SMALL | {"num_experts": 4, "moe_intermediate_size": 24, "kv_lora_rank": 24},
}


def plan_in_process(config: dict[str, Any]) -> tuple[str, list[str]]:
    """How a family is counted by a process of its own, and what that process imported."""
    code = (
        "import json, sys, unfrozen; answer = unfrozen.plan(model=json.load(sys.stdin)).to_dict();"
        "print(json.dumps([answer['family'], sorted({'torch', 'transformers'} & {*sys.modules})]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(config), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    family, imported = json.loads(ran.stdout)
    return family, imported


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_family_outside_the_table_has_the_tensors_that_transformers_builds(
    model_type: str,
) -> None:
    assert families()[model_type] == "bounded"
    config = {"model_type": model_type, **FAMILIES[model_type]}
    with torch.device("meta"):
        real = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(model_type, **FAMILIES[model_type])
        )
    planned = unfrozen.plan(model=config)
    model = planned.job.model
    assert model.num_parameters == sum(p.numel() for p in real.parameters())
    assert {t.name: t.shape for t in model.tensors} == {
        name: tuple(p.shape) for name, p in real.named_parameters()
    }
    assert planned.to_dict()["family"] == "traced"
    by = f"Its tensors are those that transformers {transformers.__version__} builds."
    assert by in " ".join(str(planned).split())


def test_the_list_of_families_says_which_are_traced_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--families", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["families"]
    assert {found[name] for name in FAMILIES} == {"traced"}
    assert found["llama"] == found["apertus"] == "exact"
    outside = {*derived.table().bounded, *derived.table().without}
    assert {name for name, how in found.items() if how != "exact"} <= outside
    assert sum(how == "traced" for how in found.values()) > sum(
        how == "bounded" for how in found.values()
    )


def test_a_plan_imports_no_pytorch_and_one_that_is_traced_does_so_in_a_child() -> None:
    assert plan_in_process({"model_type": "llama", **SMALL}) == ("exact", [])
    alone = [] if sys.platform == "linux" else ["torch", "transformers"]
    assert plan_in_process({"model_type": "diffllama", **SMALL}) == ("traced", alone)


def test_code_that_comes_with_a_config_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Own: pass\n"
    (tmp_path / "own.py").write_text(code)
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    config = {"model_type": "diffllama", **SMALL, "auto_map": own}
    (tmp_path / "config.json").write_text(json.dumps(config))
    answer = unfrozen.plan(model=str(tmp_path)).to_dict()
    assert answer["family"] == "traced"
    assert not mark.exists()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"model_type": "nowhere"}, "the transformers installed here has no nowhere"),
        ({"hidden_act": "loud"}, "'loud'"),
        ({"num_hidden_layers": 4_000}, "worked for more than 1 seconds"),
    ],
)
def test_what_cannot_be_built_is_estimated_with_the_reason(
    more: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "limited_here", sys.platform != "linux")
    monkeypatch.setattr(foreign, "CPU_SECONDS", 1)
    planned = unfrozen.plan(model={"model_type": "diffllama", **SMALL, **more})
    assert planned.to_dict()["family"] == "bounded"
    [note, estimated] = planned.job.model.architecture.notes
    assert note.startswith("Not traced: ")
    assert why in note
    assert estimated.startswith("Estimated: ")


def test_without_pytorch_the_answer_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_tensors, "find_spec", lambda name: None if name == "torch" else name)
    planned = unfrozen.plan(model={"model_type": "diffllama", **SMALL, "vocab_size": 136})
    assert planned.to_dict()["family"] == "bounded"
    assert "Not traced: torch is not installed here." in str(planned)
    assert not meta_tensors.traceable(families())


def test_a_model_that_is_read_without_a_request_is_not_built() -> None:
    assert (
        ModelConfig.from_hf({"model_type": "diffllama", **SMALL}).architecture.counted == "bounded"
    )


def test_a_model_of_which_only_the_name_is_known_is_asked_of_no_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    planned = str(unfrozen.plan(model="somebody/Model-0.7B"))
    assert "Estimated: its tensors" in planned
    assert "Not traced" not in planned

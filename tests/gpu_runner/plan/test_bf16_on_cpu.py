from dataclasses import replace
from typing import Any

import pytest

from gpu_runner.config.schema import TrainConfig
from gpu_runner.plan import machine
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE


def bf16() -> dict[str, Any]:
    return {"avx512_bf16": True}


def avx512() -> dict[str, Any]:
    return {"avx512_f": True}


CONFIG = TrainConfig(model="x", data="y")


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_a_processor_is_asked_for_its_instructions(capabilities: dict[str, Any], has: bool) -> None:
    assert machine.processor_computes_bf16(capabilities) is has
    assert not machine.processor_computes_bf16({"avx512_bf16": False})


@pytest.fixture
def shape(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """Of a large model, on a processor with bf16."""
    monkeypatch.setattr(machine.torch.cpu, "get_capabilities", bf16, raising=False)
    return next(iter(CATALOGUE.values()))


def test_what_is_faster_is_reported_where_nobody_has_chosen(shape: ModelConfig) -> None:
    (said,) = machine.suggest_16_bits(CONFIG, shape, "fp32", "cpu")
    assert "bf16 would be faster here" in said
    assert not machine.suggest_16_bits(replace(CONFIG, compute="fp32"), shape, "fp32", "cpu")
    assert not machine.suggest_16_bits(CONFIG, shape, "bf16", "cpu")
    assert not machine.suggest_16_bits(CONFIG, shape, "bf16", "cuda")
    (said,) = machine.suggest_16_bits(CONFIG, shape, "fp32", "cuda")
    assert "Give --compute fp16 to use it" in said
    assert not machine.suggest_16_bits(replace(CONFIG, compute="fp32"), shape, "fp32", "cuda")
    assert not machine.suggest_16_bits(CONFIG, None, "fp32", "cpu")


def test_without_such_instructions_nothing_is_reported(
    shape: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.torch.cpu, "get_capabilities", avx512, raising=False)
    assert not machine.suggest_16_bits(CONFIG, shape, "fp32", "cpu")

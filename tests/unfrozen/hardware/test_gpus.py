"""The table of GPUs: names people write, types and sources of every entry, plausible figures."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from unfrozen.answer.text import report
from unfrozen.data_files import read_json
from unfrozen.errors import PlanError
from unfrozen.hardware import (
    COMPARED,
    GPUS,
    SOURCES,
    Gpu,
    board_sources,
    find,
    gpu_of,
    peak_tflops,
)
from unfrozen.plan import plan
from unfrozen.plan.compute import estimate
from unfrozen.plan.step_time import step_time
from unfrozen.units import GB, gib

EACH = pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
WITHOUT_BF16 = {"T4", "V100 SXM 32GB", "V100 SXM 16GB"}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("A100-80GB", "A100 80GB SXM"),
        ("a100 80gb pcie", "A100 80GB PCIe"),
        ("NVIDIA H100", "H100 SXM"),
        ("H200", "H200"),
        ("RTX 4090", "RTX 4090"),
        ("L4", "L4"),
        ("L40", "L40"),
        ("A5000", "RTX A5000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("RTX 4060 Ti", "RTX 4060 Ti 16GB"),
    ],
)
def test_a_gpu_is_found_by_the_name_people_write(written: str, name: str) -> None:
    assert find(written).name == name


@pytest.mark.parametrize("name", ["", "!!", "H1000", "TPU v5"])
def test_an_unknown_gpu_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(PlanError, match="RTX 3090, RTX 4090"):
        find(name)


@pytest.mark.parametrize(("name", "sizes"), [("A100", "40GB, A100 80GB SXM"), ("v100", "32GB")])
def test_a_gpu_of_two_sizes_is_asked_for(name: str, sizes: str) -> None:
    with pytest.raises(PlanError, match="different memory") as caught:
        find(name)
    assert sizes in caught.value.remedy


SIXTEEN = {"nominal_gb": 16, "bandwidth_gb_s": 500, "bf16_tflops": 60}


def test_a_gpu_that_nobody_knows_is_given_by_its_numbers() -> None:
    planned = plan({"model": "Qwen2.5-0.5B", "gpu": SIXTEEN | {"name": "X1"}})
    assert (planned.job.gpu, planned.fits) == (gpu_of(SIXTEEN | {"name": "X1"}), True)
    assert "X1" in report(planned)
    slower = plan({"model": "Qwen2.5-0.5B", "gpu": SIXTEEN | {"bandwidth_gb_s": 100}}).job
    assert step_time(slower).seconds > step_time(planned.job).seconds


@pytest.mark.parametrize(
    ("numbers", "key"),
    [
        ({}, "gpu.nominal_gb"),
        ({"nominal_gb": 16}, "gpu.bandwidth_gb_s"),
        ({"nominal_gb": 16, "bandwidth_gb_s": 500}, "gpu.bf16_tflops"),
        (SIXTEEN | {"nominal_gb": -1}, "gpu.nominal_gb"),
        (SIXTEEN | {"nominal_gb": 16.5}, "gpu.nominal_gb"),
        (SIXTEEN | {"bandwidth_gb_s": float("nan")}, "gpu.bandwidth_gb_s"),
        (SIXTEEN | {"bf16_tflops": True}, "gpu.bf16_tflops"),
        (SIXTEEN | {"cores": 3}, "gpu.cores"),
        (SIXTEEN | {"name": 3}, "gpu.name"),
    ],
)
def test_numbers_of_no_gpu_are_refused_by_name(numbers: dict[str, object], key: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan({"model": "Qwen2.5-0.5B", "gpu": numbers})
    assert caught.value.key == key
    assert caught.value.remedy


def test_an_80_gb_gpu_does_not_hold_80_gb_to_the_last_byte() -> None:
    assert gib(find("A100-80GB").capacity_bytes) == pytest.approx(79.15)
    assert find("B200").capacity_bytes == 180 * GB


def test_an_entry_with_an_unknown_key_or_without_a_name_is_refused() -> None:
    good = read_json("hardware/gpus.json")["gpus"][0]
    assert Gpu.read(good) == GPUS[0]
    with pytest.raises(TypeError, match="wattage"):
        Gpu.read({**good, "wattage": 1})
    with pytest.raises(TypeError, match="name"):
        Gpu.read({key: value for key, value in good.items() if key != "name"})


ENTRIES = {entry["name"]: entry for entry in read_json("hardware/gpus.json")["gpus"]}
NEEDED = {"name", "nominal_gb", "bandwidth_gb_s"}
OPTIONAL = sorted({key for entry in ENTRIES.values() for key in entry} - NEEDED)
SEVERAL = {"gpus": 16, "sharding": "zero3"}


@pytest.mark.parametrize(
    "job",
    [
        {"recipe": {"compute": "fp32", "params": "fp32"}},
        {"recipe": {"compute": "fp8", "attention": "flash"}},
        {"recipe": {"attention": "eager"}, "cluster": SEVERAL},
        {"recipe": {"activation_offload": True, "checkpointing": "full"}, "cluster": SEVERAL},
        {"cluster": SEVERAL | {"offload": "optimizer"}},
    ],
    ids=lambda job: json.dumps(job),
)
@pytest.mark.parametrize("key", ["everything", *OPTIONAL])
def test_whatever_an_entry_leaves_out_a_step_has_a_time_and_its_assumptions(
    key: str, job: dict[str, Any]
) -> None:
    planned = plan({"model": "Qwen2.5-0.5B"} | job).job
    for name in ("A100 80GB SXM", "B200", "T4", "RTX 4090", "MI250X"):
        rest = {k: v for k, v in ENTRIES[name].items() if k != key}
        if key == "everything":
            rest = {k: v for k, v in rest.items() if k in {*NEEDED, "bf16_tflops", "fp16_tflops"}}
        if not rest.keys() & {"bf16_tflops", "fp16_tflops"}:
            with pytest.raises(PlanError, match=f"{name}.*16-bit"):
                Gpu.read(rest)
            continue
        if key == "measured_sources" and "sustained_tflops" in rest:
            with pytest.raises(PlanError, match=f"{name}.*who published it"):
                Gpu.read(rest)
            continue
        known = replace(planned, gpu=Gpu.read(rest))
        found = estimate(known, 1e6)
        assert 0 < found.step_seconds < math.inf
        assert 0 < found.energy_kwh < math.inf
        assert not [text for text in found.assumptions if not (text and not text.endswith(": ."))]


@EACH
def test_every_figure_of_an_entry_has_its_type(gpu: Gpu) -> None:
    for key, value in read_json("hardware/gpus.json")["gpus"][GPUS.index(gpu)].items():
        if key in ("name", "note"):
            assert isinstance(value, str)
            assert value
        elif key.endswith("_sources"):
            assert not [source for source in value if source not in SOURCES]
        elif key in ("fp8", "fp4", "peer_to_peer"):
            assert isinstance(value, bool)
        elif key.endswith("attention_tflops") or key == "flash_attention_2_tflops":
            assert len(value) == 2
            assert value[0] > value[1] > 0
        else:
            assert type(value) in (int, float)
            assert value > 0


@EACH
def test_every_figure_is_plausible(gpu: Gpu) -> None:
    assert 0.9 * gpu.nominal_gb <= gib(gpu.capacity_bytes) <= gpu.nominal_gb
    assert gpu.bf16 == (gpu.name not in WITHOUT_BF16) == (gpu.fp16_tflops is None)
    assert 250 <= gpu.bandwidth_gb_s <= 8000
    assert 50 <= gpu.power_watts <= 1500
    assert 0 < gpu.fp32_tflops < peak_tflops(gpu, "fp16")
    assert gpu.link_gb_s is None or gpu.host_gb_s < gpu.link_gb_s <= 900
    assert 15 < gpu.host_gb_s <= 450
    assert gpu.multiprocessors >= 28
    assert gpu.board_sources
    assert gpu.measured_sources


def test_every_gpu_is_in_the_table_once_and_every_source_is_used() -> None:
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)
    named = {
        key
        for gpu in GPUS
        for key in (*gpu.memory_sources, *gpu.board_sources, *gpu.measured_sources)
    }
    of_constants = {"fa2", "a100-paper"}  # named in texts of hardware and plan
    assert named | set(COMPARED) | of_constants == SOURCES.keys()
    assert board_sources(find("A10G")) == [SOURCES["a10g"]]


@pytest.mark.parametrize(
    ("name", "watts", "fp32", "link"),
    [
        ("A100-80GB", 400, 19.5, 300),
        ("H100 SXM", 700, 67, 450),
        ("H100 NVL", 400, 60, 300),
        ("A10G", 300, 35, None),
        ("B200", 1000, 75, 900),
        ("B300", 1100, 75, 900),
        ("GB300", 1400, 80, 900),
        ("MI300X", 750, 163.4, 448),
    ],
)
def test_an_entry_states_what_its_sources_print(
    name: str, watts: int, fp32: float, link: float | None
) -> None:
    gpu = find(name)
    assert (gpu.power_watts, gpu.fp32_tflops, gpu.link_gb_s) == (watts, fp32, link)

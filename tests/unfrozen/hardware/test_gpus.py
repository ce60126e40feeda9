"""The table of GPUs: names people write, types and sources of every entry, plausible figures."""

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest

import unfrozen
from site_builder.measurements import read_runs
from unfrozen.answer.accuracy import MEMORY
from unfrozen.answer.text import report
from unfrozen.data_files import read_json
from unfrozen.errors import PlanError
from unfrozen.hardware import (
    APPLE,
    COMPARED,
    CONTEXT_SHARE,
    GPUS,
    OF_APPLE,
    SOURCES,
    Gpu,
    board_sources,
    counted,
    find,
    gpu_of,
    peak_tflops,
)
from unfrozen.plan import plan
from unfrozen.plan.compute import estimate
from unfrozen.plan.step_time import step_time
from unfrozen.units import GB, MIB, gib

EACH = pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
WITHOUT_BF16 = {
    "RTX 2080 Ti",
    "T4",
    *(f"V100 {kind} {size}GB" for kind in ("SXM", "PCIe") for size in (16, 32)),
}


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
        ("rtx 4060 ti 8gb", "RTX 4060 Ti 8GB"),
        ("4060Ti-16G", "RTX 4060 Ti 16GB"),
        ("4060", "RTX 4060"),
        ("RTX4090", "RTX 4090"),
        ("4070 super", "RTX 4070 Super"),
        ("7900xtx", "RX 7900 XTX"),
        ("b580", "Arc B580"),
        ("a100-80", "A100 80GB SXM"),
        ("h100", "H100 SXM"),
        ("B200 192GB", "B200"),
        ("B200 180GB", "B200"),
        ("gb300 288gb", "GB300"),
        ("pro 6000", "RTX PRO 6000 Blackwell"),
        ("a10g", "A10G"),
        ("colab", "T4"),
        ("RTX_4090", "RTX 4090"),
        ("H20-3e", "H20 141GB"),
        ("h20 96gb", "H20 96GB"),
        ("DGX Spark", "GB10"),
    ],
)
def test_a_gpu_is_found_by_the_name_people_write(written: str, name: str) -> None:
    assert find(written).name == name


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("B200 200GB", "180 GB, not 200"),
        ("RTX 4060 16GB", "8 GB, not 16"),
        ("h20 80gb", "96 or 141 GB, not 80"),
        ("h100 94gb", "80 GB, not 94; .*H100 PCIe, H100 NVL"),
        ("RTX 3090 48GB", "24 GB, not 48"),
        ("4060 ti 12", "16 or 8 GB, not 12"),
        ("RTX 4060 laptop", "laptops have less memory"),
        ("RTX 4090 Max-Q", "laptops have less memory"),
    ],
)
def test_a_card_of_another_memory_is_not_taken_for_it(written: str, said: str) -> None:
    with pytest.raises(PlanError, match=said) as refused:
        find(written)
    assert "nominal_gb" in refused.value.remedy


@pytest.mark.parametrize(
    "name", ["4080 ti", "RTX 40", "A100-PCIE-20GB", "V100 PCIe 8GB", "RTX 6000"]
)
def test_a_name_that_begins_like_a_card_is_not_that_card(name: str) -> None:
    with pytest.raises(PlanError):
        find(name)


PRINTED = {
    **{"RTX 4070 Super": "NVIDIA GeForce RTX 4070 SUPER", "A100 40GB": "NVIDIA A100-SXM4-40GB"},
    **{"RTX 4080 Super": "NVIDIA GeForce RTX 4080 SUPER", "A100 80GB SXM": "NVIDIA A100-SXM4-80GB"},
    **{"RTX 4070 Ti Super": "NVIDIA GeForce RTX 4070 Ti SUPER", "T4": "Tesla T4"},
    **{"RTX PRO 6000 Blackwell": "NVIDIA RTX PRO 6000 Blackwell Server Edition"},
    **{"H20 96GB": "NVIDIA H20", "H20 141GB": "NVIDIA H20-3e"},
    **{"RTX A6000": "NVIDIA RTX A6000", "RTX A5000": "NVIDIA RTX A5000"},
    **{"RTX 6000 Ada": "NVIDIA RTX 6000 Ada Generation", "A800": "NVIDIA A800-SXM4-80GB"},
    **{"V100 SXM 32GB": "Tesla V100-SXM2-32GB", "V100 SXM 16GB": "Tesla V100-SXM2-16GB"},
    **{"V100 PCIe 32GB": "Tesla V100-PCIE-32GB", "V100 PCIe 16GB": "Tesla V100-PCIE-16GB"},
    **{"A100 40GB PCIe": "NVIDIA A100-PCIE-40GB"},
    **{"A100 80GB PCIe": "NVIDIA A100 80GB PCIe", "H100 SXM": "NVIDIA H100 80GB HBM3"},
    **{"GH200 96GB": "NVIDIA GH200 480GB", "GH200 144GB": "NVIDIA GH200 144G HBM3e"},
    **{
        "B300": "NVIDIA B300 SXM6 AC",
        "MI250X": "AMD Instinct MI250X",
        "MI300X": "AMD Instinct MI300X",
    },
    **{"RX 7900 XTX": "AMD Radeon RX 7900 XTX", "RX 9070 XT": "AMD Radeon RX 9070 XT"},
    **{"Arc B580": "Intel(R) Arc(TM) B580 Graphics"},
}
"""What drivers call a GPU, where that is not its name here behind its makers'."""


@EACH
def test_a_gpu_is_found_by_its_own_name_and_by_what_its_driver_prints(gpu: Gpu) -> None:
    assert find(gpu.name) is gpu
    makers = "NVIDIA GeForce" if gpu.name.startswith("RTX") else "NVIDIA"
    printed = PRINTED.get(gpu.name, f"{makers} {gpu.name}")
    assert find(printed) is gpu


@pytest.mark.parametrize(
    ("name", "alike"),
    [("", "RTX 3090"), ("!!", "RTX 3090"), ("H1000", "H100"), ("3090 ti", "RTX 4070 Ti")],
)
def test_an_unknown_gpu_is_refused_with_those_that_are_called_alike(name: str, alike: str) -> None:
    with pytest.raises(PlanError, match=f"such as .*{alike}") as refused:
        find(name)
    assert len(refused.value.remedy) < 200


def test_colab_without_a_gpu_s_name_is_the_one_that_is_free_and_says_so() -> None:
    for options in ({"gpus": "colab"}, {"gpu": "Google Colab"}):
        said = str(unfrozen.plan(model="smollm2-135m", **options))
        assert said.startswith("Colab lends one T4 free of charge. Paid plans have others")
    with pytest.raises(PlanError, match="Colab lends several GPUs"):
        find("colab pro")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("A100", "40GB PCIe, A100 80GB SXM"),
        ("v100", "32GB"),
        ("4060 ti", "16GB"),
        ("3060", "8GB"),
        ("GH200", "144GB"),
    ],
)
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
    assert 240 <= gpu.bandwidth_gb_s <= 8000
    assert 50 <= gpu.power_watts <= 1500
    assert 0 < gpu.fp32_tflops < peak_tflops(gpu, "fp16")
    assert gpu.link_gb_s is None or gpu.host_gb_s < gpu.link_gb_s <= 900
    assert 15 < gpu.host_gb_s <= 450
    assert gpu.multiprocessors >= 20  # an Arc B580 has 20 Xe cores
    assert gpu.board_sources
    assert gpu.measured_sources


def test_every_gpu_is_in_the_table_once_and_every_source_is_used() -> None:
    assert len({gpu.name for gpu in GPUS}) == len(GPUS)
    named = {
        key
        for gpu in (*GPUS, find("m1 16gb"))
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
        ("RTX 5070 Ti", 300, 43.9, None),
        ("V100 PCIe 32GB", 250, 14.0, None),
        ("A100-PCIE-40GB", 250, 19.5, None),
        ("RTX 5060", 145, 19.2, None),
        ("RTX 4060 Ti 8GB", 160, 22.1, None),
        ("RTX 3080 12GB", 350, 30.6, None),
        ("GB10", 140, 31, None),
        ("RX 9070 XT", 304, 48.7, None),
    ],
)
def test_an_entry_states_what_its_sources_print(
    name: str, watts: int, fp32: float, link: float | None
) -> None:
    gpu = find(name)
    assert (gpu.power_watts, gpu.fp32_tflops, gpu.link_gb_s) == (watts, fp32, link)


def test_a_geforce_multiplies_in_16_bits_twice_as_fast_as_in_fp32() -> None:
    cards = [gpu for gpu in GPUS if gpu.name.startswith("RTX ") and gpu.name[4].isdecimal()]
    ratios = {gpu.name: peak_tflops(gpu, "bf16") / gpu.fp32_tflops for gpu in cards}
    assert len(cards) > 20
    assert ratios.pop("RTX 6000 Ada") == pytest.approx(4, rel=0.01)  # none is cut in half
    assert ratios.pop("RTX 2080 Ti") == pytest.approx(4, rel=0.01)
    assert list(ratios.values()) == pytest.approx([2] * len(ratios), rel=0.01)


@pytest.mark.parametrize(
    ("typed", "name", "usable"),
    [
        ("macbook m4 max 64gb", "Apple M4 Max 64GB", 48),
        ("MacBook Pro M4 Pro 48 GB", "Apple M4 Pro 48GB", 36),
        ("m3 ultra 512gb", "Apple M3 Ultra 512GB", 384),
        ("Apple M1 16GB", "Apple M1 16GB", 10.67),
        ("m3 max 36", "Apple M3 Max 36GB", 24),
    ],
)
def test_a_chip_of_apple_has_the_memory_that_metal_recommends_of_its_machine(
    typed: str, name: str, usable: float
) -> None:
    found = find(typed)
    assert (found.name, find(found.name)) == (name, found)
    assert gib(found.capacity_bytes) == pytest.approx(usable, rel=0.001)
    assert peak_tflops(found, "bf16") == found.fp32_tflops, "no units of their own for 16 bits"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("m4 max", "36, 48, 64, 128 GB"),
        ("m4 max 100gb", "36, 48, 64, 128 GB"),
        ("m5 ultra 256gb", "not in the table"),
    ],
)
def test_a_chip_without_its_memory_or_with_another_is_a_question(typed: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        find(typed)
    assert said in str(refused.value)


def test_every_chip_of_apple_is_found_by_its_name_with_each_of_its_memories() -> None:
    assert not [gpu for gpu in OF_APPLE if find(gpu.name) != gpu]
    assert {gpu.name.rpartition(" ")[0] for gpu in OF_APPLE} == {f"Apple {chip}" for chip in APPLE}


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ({"recipe": {"method": "qlora", "base": "nf4"}}, "recipe.method"),
        ({"recipe": {"attention": "flash"}}, "recipe.attention"),
        ({"recipe": {"attention": "sdpa"}}, "recipe.attention"),
        ({"recipe": {"kernels": "fused"}}, "recipe.kernels"),
        ({"recipe": {"moments": "int8"}}, "recipe.moments"),
        ({"recipe": {"paged": True}}, "recipe.paged"),
        ({"recipe": {"activation_offload": True}}, "recipe.activation_offload"),
        ({"cluster": {"gpus": 2}}, "cluster.gpus"),
    ],
)
def test_what_pytorch_cannot_do_on_apples_device_is_refused_by_name(
    part: dict[str, Any], key: str
) -> None:
    with pytest.raises(PlanError) as refused:
        plan({"model": "Qwen2.5-0.5B", "gpu": "m4 max 64gb"} | part)
    assert refused.value.key == key


def test_a_plan_on_a_chip_of_apple_keeps_all_scores_and_says_that_nobody_compared_it() -> None:
    planned = plan({"model": "Qwen2.5-0.5B", "gpu": "m4 max 64gb"})
    assert planned.job.recipe.attention == "eager"
    assert "No verdict on a GPU of Apple was compared with a run" in report(planned)
    found = estimate(planned.job, 1e6)
    assert found.step_band is None
    assert "nobody published one" in " ".join(found.assumptions)
    assert "assumed 300 W" in " ".join(found.assumptions)


WRITTEN = ("{n} {m}", "{n}-{m}", "{n}_{m}", "{n} ({m})", "{n}, {m}", "NVIDIA {n} {m}", "{m} {n}")


@EACH
def test_a_card_is_found_however_its_name_and_its_memory_are_written(gpu: Gpu) -> None:
    words, sizes = gpu.name.split(), (gpu.nominal_gb, gpu.marketed_gb or gpu.nominal_gb)
    bare = " ".join(word for word in words if not word.endswith("GB"))
    for size in sizes:
        for memory in (f"{size}GB", f"{size} GB", f"{size}G", f"{size} gb", f"{size}GiB"):
            for written in WRITTEN:
                text = written.format(n=bare, m=memory)
                for typed in (
                    text,
                    text.upper(),
                    text.lower(),
                    f"  {text} ",
                    text.replace(" ", "  "),
                ):
                    assert find(typed) is gpu, typed
                assert counted(f"2x{text}") == (2, text)
                assert counted(f"4 x {text}")[0] == 4


def test_the_t4s_of_the_fourth_collection_show_its_context() -> None:
    """Their quotes print what the allocator reserved and what the process had."""
    rows = [row for row in read_runs() if row.of == MEMORY]
    quotes = [row.quote for row in rows if "process_mib" in row.quote]
    found = [
        re.search(r"peak_reserved_mib ([\d.]+), process_mib ([\d.]+)", text) for text in quotes
    ]
    beside = {float(one[2]) - float(one[1]) for one in found if one}
    assert (len(found), beside) == (32, {140.875})
    assert find("T4").context_bytes / MIB == pytest.approx(140.875, rel=0.01)


def test_contexts_that_were_seen_grow_with_multiprocessors_as_the_others_are_assumed_to() -> None:
    seen = {gpu.name: gpu.context_bytes / gpu.multiprocessors for gpu in GPUS if gpu.context_gib}
    assert all("oom-contexts" in find(name).memory_sources for name in seen)
    assert len(seen) >= 15
    assert all(0.6 * CONTEXT_SHARE < each < 1.25 * CONTEXT_SHARE for each in seen.values())
    assert find("RTX 3070").context_bytes == 46 * CONTEXT_SHARE

"""Text for a terminal: narrow enough, aligned, and it says what a reader asks."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.answer import on_all_gpus
from unfrozen.answer.text import (
    change,
    compare_table,
    estimate_text,
    gpus_table,
    jobs_table,
    report,
    solved_text,
    table,
    title,
    verdict,
)
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import Plan, plan
from unfrozen.plan.compute import estimate
from unfrozen.planner.figures import verdict as page_verdict

WIDEST = 110
LLAMA_8B = CATALOGUE["meta-llama/Llama-3.1-8B"].config


def planned(gpu: str | None = "H100", **job: Any) -> Plan:
    return plan({"model": LLAMA_8B, "gpu": gpu} | job)


def test_columns_are_aligned() -> None:
    assert table([["a", "1"], ["long", "22"]]) == "a      1\nlong  22"


def test_a_report_names_the_peak_the_verdict_and_the_changes() -> None:
    text = report(planned())
    for words in (
        "8.03B parameters",
        "adamw in bf16 with an fp32 master copy",
        "End of forward",
        "Weights",
        "Does not fit the H100 SXM (79.1 GiB)",
        " GPUs would hold it with ZeRO-3",
        "8-bit optimizer states",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= WIDEST
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gpu": None}, "Name a GPU to see whether it fits"),
        ({"gpu": "B200"}, "to spare."),
        ({"recipe": {"seq_len": 4_000_000}}, "no number of GPUs would"),
        ({"cluster": {"gpus": 8, "sharding": "zero3"}}, "8 × H100 SXM, ZeRO-3"),
        ({"recipe": {"params": "fp32"}}, "adamw in fp32 with bf16 autocast"),
        ({"recipe": {"micro_batch": 4, "grad_accum": 2}}, "2 × 4 × 2,048 tokens"),
    ],
)
def test_a_report_says_what_there_is_to_say(given: dict[str, Any], says: str) -> None:
    assert says in report(planned(**given))


def test_the_peak_is_marked_under_its_column() -> None:
    lines = report(planned()).splitlines()
    mark = next(line for line in lines if line.strip() == "peak")
    head = next(line for line in lines if line.startswith("GiB"))
    assert head[: len(mark)].endswith("End of forward")


def test_a_list_has_a_row_a_job() -> None:
    lines = jobs_table([planned(), planned(gpu=None)]).splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("1    llama")
    assert "H100 SXM" in lines[1]
    assert "no" in lines[1].split()
    assert max(map(len, lines)) <= WIDEST


def test_the_gpus_say_what_is_to_spare_or_what_they_lack() -> None:
    text = gpus_table(on_all_gpus(planned()))
    assert "no bf16" not in text.splitlines()[0]
    (t4,) = [line for line in text.splitlines() if line.startswith("T4")]
    assert "bf16" in t4
    assert "−" in text


def test_plans_stand_side_by_side() -> None:
    pairs = [(n, planned(cluster={"gpus": 8, "sharding": n})) for n in ("none", "zero3")]
    text = compare_table(pairs)
    assert text.splitlines()[0].split() == ["GiB", "at", "the", "peak", "none", "zero3"]
    assert "Gathered shards" in text
    assert "Fits the H100 SXM" in text
    assert "Fits" not in compare_table([("one", planned(gpu=None))])


def test_an_estimate_says_time_energy_cost_and_what_it_assumes() -> None:
    job = planned().job
    text = estimate_text(job, estimate(job, 1e9, price=2))
    for words in ("tokens/s", "GPU-hours", "kWh", "Cost", "Bound by", "Accuracy", "an estimate"):
        assert words in text
    assert "Cost" not in estimate_text(job, estimate(job, 1e9))


def test_an_inverse_answer_is_a_sentence() -> None:
    assert "Not even a micro-batch of 1 fits" in solved_text(planned(), "micro_batch", 0)
    assert solved_text(planned(), "seq_len", 5000).endswith("fits the H100 SXM (79.1 GiB): 5,000.")


def test_a_title_without_a_gpu_says_so() -> None:
    assert title(planned(gpu=None).job).endswith("1 × 2,048 tokens, one GPU")
    assert title(planned(gpu=None, cluster={"gpus": 2}).job).endswith("2 GPUs")


@pytest.mark.parametrize(("ratio", "text"), [(1.302, "+30%"), (0.76, "−24%"), (1.001, "same")])
def test_a_ratio_reads_as_a_change(ratio: float, text: str) -> None:
    assert change(ratio) == text


@pytest.mark.parametrize(("gpu", "length", "says"), [("m2 16gb", 256, False), ("T4", 0, True)])
def test_advice_for_cuda_is_given_for_cuda_alone(gpu: str, length: int, says: bool) -> None:
    recipes = ({"seq_len": length or n, "micro_batch": 1} for n in range(256, 9000, 64))
    jobs = ({"model": "Qwen/Qwen3-0.6B", "gpu": gpu, "recipe": one} for one in recipes)
    tight = next(one for one in map(plan, jobs) if one.verdict == "tight")
    assert ("PYTORCH_CUDA_ALLOC_CONF" in verdict(tight)) is says
    assert ("PYTORCH_CUDA_ALLOC_CONF" in str(page_verdict(tight, "GiB"))) is says

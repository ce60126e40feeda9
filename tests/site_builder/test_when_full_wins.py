"""What chapter 5 claims in words, beside the numbers that it prints."""

import pytest

from unfrozen.decision.evidence import PUBLISHED, room_tokens, trained_parameters
from unfrozen.decision.ranking import flips, ranked, winner
from unfrozen.decision.serving import copies, fewer_bytes_from, on_16_bits
from unfrozen.decision.task import read_task
from unfrozen.hardware.gpus import find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.compute import estimate
from unfrozen.plan.largest_model import EIGHT_BIT, MIXED, largest

EIGHT = CATALOGUE["meta-llama/Llama-3.1-8B"]


def test_the_rule_of_sixteen_promises_more_than_the_planner_finds() -> None:
    gpu = find("RTX 4090")
    found = largest(gpu, MIXED) or 0
    assert found < gpu.capacity_bytes / 16 < 1.3 * found
    assert (largest(gpu, EIGHT_BIT) or 0) > 2 * found


def test_gaps_closed_on_instructions_at_rank_256_and_stayed_open_on_raw_text() -> None:
    code, maths, raw_code, raw_maths = PUBLISHED
    assert code.gap_closes
    assert maths.gap_closes
    assert not raw_code.gap_closes
    assert not raw_maths.gap_closes


def test_the_instructions_had_room_at_rank_16_and_the_raw_text_not_at_256() -> None:
    llama = CATALOGUE["meta-llama/Llama-2-7b-hf"].model
    code, _, raw_code, _ = PUBLISHED
    assert room_tokens(trained_parameters(llama, 16)) > code.tokens
    assert room_tokens(trained_parameters(llama, 256)) * 10 < raw_code.tokens


def test_the_lines_cross_at_the_second_task_but_for_adapters_as_large_as_the_model() -> None:
    assert fewer_bytes_from(copies(EIGHT.model), on_16_bits(EIGHT.model, 16)) == 2
    tiny = CATALOGUE["HuggingFaceTB/SmolLM2-135M"].model
    assert fewer_bytes_from(copies(tiny), on_16_bits(tiny, 256)) > 2
    assert trained_parameters(tiny, 256) > 0.5 * tiny.num_parameters


def test_lora_takes_about_two_thirds_of_the_arithmetic() -> None:
    full, lora = (
        estimate(Job.read({"model": EIGHT.config, "gpu": "H100", "recipe": recipe}), 1e6)
        for recipe in ({}, {"method": "lora"})
    )
    assert lora.flops_per_token / full.flops_per_token == pytest.approx(2 / 3, abs=0.03)


def test_full_fine_tuning_is_first_by_a_judgement_and_lora_is_cheaper() -> None:
    first, second = ranked(read_task({}))[:2]
    assert (first.key, second.key) == ("full", "lora")
    assert second.gpu_hours < first.gpu_hours < second.gpu_hours + 1


def test_the_exercise_of_the_chapter_has_its_outcome() -> None:
    [lora_from] = [flip for flip in flips(read_task({}), "lora") if flip.key == "tasks"]
    tasks = {"tasks": str(lora_from.value)}
    assert winner(read_task(tasks)) == "lora"
    assert winner(read_task(tasks | {"want": "most"})) == "full"
    fifty = read_task({"tasks": "50", "want": "most"})
    assert winner(fifty) == "lora"
    [gpus] = [flip for flip in flips(fifty, "full") if flip.key == "gpus"]
    assert winner(gpus.apply(fifty)) == "full"


@pytest.mark.parametrize(
    "query",
    ["model=meta-llama/Llama-3.1-70B&gpu=H100 SXM", "tasks=50", "tokens=100000000"],
)
def test_where_the_chapter_says_full_fine_tuning_loses_it_does(query: str) -> None:
    assert winner(read_task(query)) in ("lora", "qlora")

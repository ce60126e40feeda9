"""What chapter 5 claims in words, beside the numbers that it prints."""

import pytest

from unfrozen.decision.evidence import PUBLISHED, room_tokens, trained_parameters
from unfrozen.decision.options import copies, on_16_bits
from unfrozen.decision.ranking import flips, ranked, winner
from unfrozen.decision.task import read_task
from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.compute import estimate
from unfrozen.plan.methods import EIGHT_BIT, MIXED, largest

EIGHT = CATALOGUE["meta-llama/Llama-3.1-8B"]


def test_one_a100_trains_eight_billion_with_six_bytes_a_parameter_and_not_with_sixteen() -> None:
    gpu = find("A100-80GB")
    assert (largest(gpu, MIXED) or 0) < EIGHT.num_parameters < (largest(gpu, EIGHT_BIT) or 0)


def test_gaps_closed_on_instructions_at_rank_256_and_stayed_open_on_raw_text() -> None:
    code, maths, raw_code, raw_maths = (each.full - each.rank_256 for each in PUBLISHED)
    assert max(code, maths) < 0.01 < min(raw_code, raw_maths)


def test_the_instructions_had_room_at_rank_16_and_the_raw_text_not_at_256() -> None:
    llama = CATALOGUE["meta-llama/Llama-2-7b-hf"].model
    code, _, raw_code, _ = PUBLISHED
    assert room_tokens(trained_parameters(llama, 16)) > code.tokens
    assert room_tokens(trained_parameters(llama, 256)) * 10 < raw_code.tokens


def test_two_tasks_are_a_reason_for_adapters() -> None:
    apart, beside = copies(EIGHT.model), on_16_bits(EIGHT.model, 16)
    assert apart.at(1) < beside.at(1)
    assert apart.at(2) > beside.at(2)


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


@pytest.mark.parametrize(
    "query",
    ["model=meta-llama/Llama-3.1-70B&gpu=H100 SXM", "tasks=50", "tokens=100000000"],
)
def test_where_the_chapter_says_full_fine_tuning_loses_it_does(query: str) -> None:
    assert winner(read_task(query)) in ("lora", "qlora")

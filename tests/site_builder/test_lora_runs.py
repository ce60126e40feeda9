"""Our LoRA comparison: the runs are complete, and the table and chapter 5 agree with them."""

from math import inf
from typing import Any, Literal

import pytest

from site_builder.lora_runs import (
    PARTS,
    best_rate_ratios,
    format_change,
    read_methods,
    read_study,
)
from site_builder.rendering import RenderQueue
from unfrozen.decision.evidence import room_tokens, trained_parameters
from unfrozen.model.catalogue import CATALOGUE

METHODS = ("full", "lora-1", "lora-8", "lora-64")
TINY = CATALOGUE["HuggingFaceTB/SmolLM2-135M"].model
Loss = Literal["task", "general"]


class RecordingQueue(RenderQueue):
    """Keeps the data of every request."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[Any] = []

    def add(self, where: str, kind: str, **request: Any) -> str:
        self.data.append(request["data"])
        return super().add(where, kind, **request)


def drawn(part: str) -> Any:
    queue = RecordingQueue()
    PARTS[part]("x.md:1", queue)
    return queue.data[-1]


def losses_by_rate(method: str, loss: Loss = "task") -> dict[float, float]:
    """Return the loss at every rate tried with the first seed; infinite where the run diverged."""
    study = read_study()
    found = {
        run["rate"]: inf if run[loss] is None else run[loss]
        for run in study["runs"]
        if (run["method"], run["seed"]) == (method, study["seeds"][0])
    }
    return dict(sorted(found.items()))


def forgetting_of_adapters(low: float, high: float) -> list[float]:
    """Return the increase of the loss on English in every LoRA run whose rate is in [low, high]."""
    study = read_study()
    return [
        run["general"] - study["before"]["general"]
        for run in study["runs"]
        if run["method"] != "full" and low <= run["rate"] <= high and run["general"] is not None
    ]


def seed_losses(method: str, loss: Loss) -> list[float]:
    """Return that loss of a method at its best rate, seed by seed."""
    rate = read_methods()[method].rate
    runs = [r for r in read_study()["runs"] if (r["method"], r["rate"]) == (method, rate)]
    return [run[loss] for run in sorted(runs, key=lambda run: run["seed"])]


def test_every_method_has_its_ladder_and_all_seeds_at_the_best_rate() -> None:
    assert tuple(read_methods()) == METHODS
    for name, found in read_methods().items():
        losses = losses_by_rate(name)
        assert len(losses) >= 3
        assert found.rate == min(losses, key=lambda rate: losses[rate])
        assert found.seeds == len(seed_losses(name, "task")) == len(read_study()["seeds"]) == 3
        assert found.task == pytest.approx(sum(seed_losses(name, "task")) / 3, rel=1e-4)
        assert found.general == pytest.approx(sum(seed_losses(name, "general")) / 3, rel=1e-4)


def test_what_is_trained_is_what_the_model_and_the_rank_say() -> None:
    assert read_methods()["full"].trained == TINY.num_parameters
    for rank in (1, 8, 64):
        assert read_methods()[f"lora-{rank}"].trained == trained_parameters(TINY, rank)


def test_the_planner_predicts_what_every_method_held() -> None:
    for found in read_methods().values():
        assert found.measured_bytes == pytest.approx(found.predicted_bytes, rel=0.01)


def test_the_runs_say_what_made_them_and_nothing_of_the_machine() -> None:
    made = read_study()["made"]
    assert {"torch", "transformers", "peft"} <= made["versions"].keys()
    assert made.keys() == {"versions", "cpu", "threads", "date"}


def test_the_table_has_a_row_for_each_method_and_one_for_the_start() -> None:
    table = drawn("methods")
    assert [row[0] for row in table["rows"][1:]] == [
        found.title for found in read_methods().values()
    ]
    assert all(len(row) == len(table["headers"]) for row in table["rows"])


def test_a_change_has_a_sign_unless_it_is_none() -> None:
    assert [format_change(value) for value in (-0.123, 0.3, 0.001, -0.001)] == [
        "−0.12",
        "+0.30",
        "0.00",
        "0.00",
    ]


# --- what chapter 5 says of them ----------------------------------------------------------------
THIN = METHODS[1:]


@pytest.mark.parametrize("adapters", THIN)
def test_full_fine_tuning_learned_more_with_every_seed(adapters: str) -> None:
    pairs = zip(seed_losses("full", "task"), seed_losses(adapters, "task"), strict=True)
    assert all(full < lora for full, lora in pairs)


def test_rank_did_not_put_them_in_order() -> None:
    tasks = [read_methods()[name].task for name in THIN]
    assert tasks != sorted(tasks, reverse=True)


def test_the_rule_of_ten_held_roughly() -> None:
    least, most = best_rate_ratios()
    assert 5 < least <= most < 20


def test_what_adapters_lost_was_a_matter_of_their_rate() -> None:
    assert max(forgetting_of_adapters(0, 1.7e-3)) < 0.1
    assert min(forgetting_of_adapters(3e-3, 3e-3)) > 2 * max(forgetting_of_adapters(0, 1.7e-3))
    assert {run["method"] for run in read_study()["runs"] if run["rate"] == 3e-3} == set(THIN)


@pytest.mark.parametrize("loss", ["task", "general"])
def test_at_one_rate_the_ranks_end_near_each_other(loss: Loss) -> None:
    for rate in (1e-3, 1.7e-3, 3e-3):
        ends = [losses_by_rate(name, loss)[rate] for name in THIN]
        assert max(ends) < 1.15 * min(ends)


def test_nearly_every_lora_run_is_dominated_by_one_with_every_weight() -> None:
    runs = [run for run in read_study()["runs"] if run["task"] is not None]
    ends = [(run["task"], run["general"]) for run in runs if run["method"] == "full"]
    lora = [(run["task"], run["general"]) for run in runs if run["method"] != "full"]
    worse = [end for end in lora if any(full[0] < end[0] and full[1] < end[1] for full in ends)]
    assert len(worse) > 0.9 * len(lora)


def test_rank_1_had_room_for_what_was_read_and_half_the_memory() -> None:
    thin, choices = read_methods()["lora-1"], read_study()["choices"]
    rows = choices["steps"] * choices["micro_batch"]
    assert room_tokens(thin.trained) > 10 * rows * choices["seq_len"] / 3
    assert thin.measured_bytes < read_methods()["full"].measured_bytes / 2

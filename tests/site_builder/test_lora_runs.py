"""Full fine-tuning beside LoRA: the runs are whole, and what is drawn is what was found."""

from math import inf
from typing import Any

import pytest

from site_builder import lora_runs
from site_builder.errors import SiteError
from site_builder.lora_runs import (
    Loss,
    beaten,
    best,
    changes,
    draw,
    known,
    lower,
    rates,
    ratios,
    signed,
)
from site_builder.renderings import Renderings
from unfrozen.decision.evidence import room_tokens, trained_parameters
from unfrozen.model.catalogue import CATALOGUE

METHODS = ("full", "lora-1", "lora-8", "lora-64")
TINY = CATALOGUE["HuggingFaceTB/SmolLM2-135M"].model


class Asked(Renderings):
    """Remembers what was to be drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[Any] = []

    def add(self, where: str, kind: str, **request: Any) -> str:
        self.data.append(request["data"])
        return super().add(where, kind, **request)


def drawn(part: str) -> Any:
    asked = Asked()
    draw(part, "x.md:1", asked)
    return asked.data[-1]


def test_every_method_has_its_ladder_and_all_seeds_at_the_best_rate() -> None:
    assert tuple(best()) == METHODS
    for name, found in best().items():
        losses = {rate: inf if loss is None else loss for rate, loss in rates(name).items()}
        assert len(losses) >= 3
        assert found.rate == min(losses, key=lambda rate: losses[rate])
        assert found.seeds == len(found.seeds_of("task")) == len(known()["seeds"]) == 3
        assert found.task == pytest.approx(sum(found.seeds_of("task")) / 3, rel=1e-4)
        assert found.general == pytest.approx(sum(found.seeds_of("general")) / 3, rel=1e-4)


def test_what_is_trained_is_what_the_model_and_the_rank_say() -> None:
    assert best()["full"].trained == TINY.num_parameters
    for rank in (1, 8, 64):
        assert best()[f"lora-{rank}"].trained == trained_parameters(TINY, rank)


def test_the_planner_predicts_what_every_method_held() -> None:
    for found in best().values():
        assert found.measured_bytes == pytest.approx(found.predicted_bytes, rel=0.01)


def test_the_runs_say_what_made_them_and_nothing_of_the_machine() -> None:
    made = known()["made"]
    assert {"torch", "transformers", "peft"} <= made["versions"].keys()
    assert made.keys() == {"versions", "cpu", "threads", "date"}


def test_the_table_has_a_row_for_each_method_and_one_for_the_start() -> None:
    table = drawn("methods")
    assert [row[0] for row in table["rows"][1:]] == [found.title for found in best().values()]
    assert all(len(row) == len(table["headers"]) for row in table["rows"])


@pytest.mark.parametrize(("part", "loss"), [("learned", "task"), ("lost", "general")])
def test_the_plots_have_every_rate_that_was_tried(part: str, loss: Loss) -> None:
    plot = drawn(part)
    assert plot["x_data"] == sorted({run["rate"] for run in known()["runs"]})
    for line, name in zip(plot["lines"], METHODS, strict=True):
        pairs = zip(plot["x_data"], line["data"], strict=True)
        assert {x: y for x, y in pairs if y is not None} == {
            x: y for x, y in rates(name, loss).items() if y is not None
        }


def test_all_runs_can_be_looked_at() -> None:
    assert len(drawn("all")["rows"]) == len(known()["runs"])


def test_a_part_that_is_none_stops_the_build() -> None:
    with pytest.raises(
        SiteError, match="no ::: lora-runs some; choose methods, learned, lost, all"
    ):
        draw("some", "x.md:1", Renderings())


def test_methods_are_compared_seed_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = known()
    best()  # kept from what is there
    runs = [
        {"method": name, "rate": best()[name].rate, "seed": seed, "task": task, "general": 1.0}
        for name, tasks in {"full": (1.0, 2.0), "lora-1": (1.1, 2.1), "lora-8": (1.1, 1.9)}.items()
        for seed, task in enumerate(tasks)
    ]
    monkeypatch.setattr(lora_runs, "known", lambda: whole | {"runs": runs[::-1]})
    assert lower("full", "lora-1", "task") == 2
    assert lower("lora-1", "full", "task") == 0
    assert lower("full", "lora-8", "task") == 1
    assert lower("full", "lora-1", "general") == 0


def test_a_run_is_beaten_by_one_that_is_better_at_both(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [("full", 1.0, 1.0), ("lora-1", 1.1, 1.1), ("lora-1", 1.1, 0.9), ("lora-8", None, None)]
    runs = [{"method": name, "task": task, "general": old} for name, task, old in ends]
    monkeypatch.setattr(lora_runs, "known", lambda: {"runs": runs})
    assert beaten() == (2, 3)


def test_a_change_has_a_sign_unless_it_is_none() -> None:
    assert [signed(value) for value in (-0.123, 0.3, 0.001, -0.001)] == [
        "−0.12",
        "+0.30",
        "0.00",
        "0.00",
    ]


# --- what chapter 5 says of them ----------------------------------------------------------------
THIN = METHODS[1:]


@pytest.mark.parametrize("adapters", THIN)
def test_full_fine_tuning_learned_more_with_every_order_of_the_rows(adapters: str) -> None:
    assert lower("full", adapters, "task") == 3


def test_rank_did_not_put_them_in_order() -> None:
    tasks = [best()[name].task for name in THIN]
    assert tasks != sorted(tasks, reverse=True)


def test_the_rule_of_ten_held_roughly() -> None:
    least, most = ratios()
    assert 5 < least <= most < 20


def test_what_adapters_lost_was_a_matter_of_their_rate() -> None:
    assert max(changes("lora", 0, 1.7e-3)) < 0.1
    assert min(changes("lora", 3e-3, 3e-3)) > 2 * max(changes("lora", 0, 1.7e-3))
    assert {run["method"] for run in known()["runs"] if run["rate"] == 3e-3} == set(THIN)


@pytest.mark.parametrize("loss", ["task", "general"])
def test_at_one_rate_the_ranks_end_near_each_other(loss: Loss) -> None:
    for rate in (1e-3, 1.7e-3, 3e-3):
        ends = [rates(name, loss)[rate] or inf for name in THIN]
        assert max(ends) < 1.15 * min(ends)


def test_nearly_every_run_with_adapters_is_beaten_at_both() -> None:
    worse, of_all = beaten()
    assert worse > 0.9 * of_all


def test_rank_1_had_room_for_what_was_read_and_half_the_memory() -> None:
    thin, choices = best()["lora-1"], known()["choices"]
    rows = choices["steps"] * choices["micro_batch"]
    assert room_tokens(thin.trained) > 10 * rows * choices["seq_len"] / 3
    assert thin.measured_bytes < best()["full"].measured_bytes / 2

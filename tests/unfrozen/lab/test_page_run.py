"""What the page says about its fine-tune is so: every preset with five seeds, a part run here.

All runs of web/measurements/lab.json are judged. The runs repeated here, one for each part of a
step that a dial changes, must equal their twins in the file.
"""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

import pytest

from conftest import matrix
from lab_demo import loaded
from unfrozen.lab.choices import (
    CHALLENGE,
    DEFAULT,
    DIALS,
    PRESETS,
    SEEDS,
    Choices,
    RunPreset,
    format_title,
    view,
)
from unfrozen.lab.demo import PROMPTS

ROOT = Path(__file__).parents[3]
FILE = json.loads((ROOT / "web" / "measurements" / "lab.json").read_text(encoding="utf-8"))
NUMERAL, FRANCE, JORDAN, IRAN, _, OMAR, ENGINE = PROMPTS
REPEATED = 0.15  # nats; runs are chaotic, and machines differ
AGAIN: Final = [("plain", 0), ("replay", 0), ("held", 0), ("ewc", 1), ("decay", 0)]
"""Names and places of the seed of what is run here: each part of a step that a dial changes."""

Run = dict[str, Any]


def each_seed(name: str) -> list[tuple[Run, Run]]:
    """The runs of this name, each beside the plain run of the same seed."""
    return list(zip(FILE["runs"][name], FILE["runs"]["plain"], strict=True))


def share_lost(name: str) -> float:
    """What they lose, all seeds together, as a share of what the plain ones do."""
    runs, plain = (sum(map(lost, column)) for column in zip(*each_seed(name), strict=True))
    return runs / plain


def lab_runs() -> Any:
    """docs/lab_runs.py, which has made the file."""
    spec = spec_from_file_location("lab_runs", ROOT / "docs" / "lab_runs.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loss(run: Run, suite: str, when: int = 1) -> float:
    return float(run["losses"][suite][when])


def lost(run: Run) -> float:
    return loss(run, "general") - loss(run, "general", 0)


class TestEveryPresetWithEverySeed:
    def test_as_it_comes_the_task_falls_tenfold_and_capitals_rise_twentyfold(self) -> None:
        for run in FILE["runs"]["plain"]:
            assert loss(run, "task") < loss(run, "task", 0) / 10
            assert loss(run, "general/capitals") > 20 * loss(run, "general/capitals", 0)

    def test_as_it_comes_two_capitals_and_a_word_are_lost_and_two_answers_stay(self) -> None:
        right = {JORDAN: "Amman.", IRAN: "Tehran.", ENGINE: "e n i g n e"}
        for run in FILE["runs"]["plain"]:
            for prompt, answer in right.items():
                before, after = run["answers"][prompt]
                assert before == answer != after, prompt
            for prompt in (FRANCE, OMAR):
                before, after = run["answers"][prompt]
                assert before == after, prompt

    def test_a_longer_run_writes_the_numeral_and_forgets_more(self) -> None:
        for run, plain in each_seed("longer"):
            assert run["answers"][NUMERAL][1] == "DCCCXXVI" != plain["answers"][NUMERAL][1]
            assert lost(run) > lost(plain)

    def test_at_a_third_of_the_rate_five_of_six_old_answers_are_as_before(self) -> None:
        for run in FILE["runs"]["gentle"]:
            kept = [before == after for before, after in list(run["answers"].values())[1:]]
            assert (len(kept), sum(kept)) == (6, 5)

    def test_at_a_third_of_the_rate_nothing_is_lost_and_the_numerals_come_half_way(self) -> None:
        for run, plain in each_seed("gentle"):
            assert lost(run) < 0.2 * lost(plain)
            assert 2 * loss(plain, "task") < loss(run, "task") < loss(run, "task", 0) / 5

    def test_at_eight_times_the_rate_the_task_is_learned_better_and_nothing_is_left(self) -> None:
        for run, plain in each_seed("fast"):
            assert loss(run, "task") < loss(plain, "task")
            for suite in run["losses"]:
                assert suite == "task" or loss(run, suite) > 10 * loss(run, suite, 0)

    def test_with_replay_half_of_the_forgetting_is_gone_and_the_task_pays_little(self) -> None:
        for run, plain in each_seed("replay"):
            assert lost(run) < lost(plain)
            assert loss(run, "task") < loss(plain, "task") + 0.15

    def test_held_to_the_start_weights_move_half_as_far_and_most_of_the_old_stays(self) -> None:
        for run, plain in each_seed("held"):
            assert 0.4 < run["drift"] / plain["drift"] < 0.6
            assert lost(run) < 0.8 * lost(plain)
            assert 0 < loss(run, "task") - loss(plain, "task") < 0.3

    def test_held_without_end_nothing_moves(self) -> None:
        for run in FILE["runs"]["frozen"]:
            assert run["drift"] < 1e-3
            assert lost(run) == pytest.approx(0, abs=1e-3)
            assert loss(run, "task") == pytest.approx(loss(run, "task", 0), abs=0.05)

    def test_with_ewc_weights_move_almost_as_far_and_most_forgetting_is_gone(self) -> None:
        for run, plain in each_seed("ewc"):
            assert 0.85 < run["drift"] / plain["drift"] < 1
            assert lost(run) < 0.4 * lost(plain)

    def test_weight_decay_forgets_several_times_more_than_no_pull(self) -> None:
        for run, plain in each_seed("decay"):
            assert lost(run) > 2 * lost(plain)

    def test_the_challenge_is_missed_by_the_defaults(self) -> None:
        for run in FILE["runs"]["plain"]:
            assert loss(run, "general") > CHALLENGE.general


def test_all_seeds_together_lose_the_share_that_is_reported() -> None:
    assert 0.35 < share_lost("replay") < 0.65
    assert share_lost("held") < 0.5
    assert share_lost("ewc") < 0.25
    assert 4 < share_lost("decay") < 9


def reaches_the_challenge(run: Run) -> bool:
    return loss(run, "task") < CHALLENGE.task and loss(run, "general") < CHALLENGE.general


def test_the_challenge_is_reached_by_a_setting_of_the_dials() -> None:
    name, at = AGAIN[3]
    assert reaches_the_challenge(FILE["runs"][name][at])


@pytest.mark.slow
@pytest.mark.matrix
def test_the_challenge_is_reached_with_the_seed_that_is_set() -> None:
    reached = Choices(replay_share=0.05, seed=DEFAULT.seed)
    preset = RunPreset("a way in", "", {"replay_share": reached.replay_share}, "")
    assert reaches_the_challenge(lab_runs().outcome(loaded(), preset, reached.seed))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "at"), matrix(AGAIN, AGAIN[3]))
def test_a_run_of_the_file_comes_out_again(name: str, at: int) -> None:
    preset = next(one for one in PRESETS if one.id == name)
    told, again = FILE["runs"][name][at], lab_runs().outcome(loaded(), preset, SEEDS[at])
    assert again["drift"] == pytest.approx(told["drift"], rel=REPEATED, abs=1e-3)
    for suite, (before, after) in told["losses"].items():
        assert loss(again, suite, 0) == pytest.approx(before, abs=1e-3)
        rough = suite.startswith("general/")  # of a single skill: few tokens
        expected = pytest.approx(after, rel=3 * REPEATED if rough else REPEATED, abs=0.02)
        assert loss(again, suite) == expected, suite


@pytest.mark.parametrize("preset", [p.id for p in PRESETS])
def test_what_the_chapter_quotes_are_the_means_of_the_runs(preset: str) -> None:
    told, means = FILE["presets"][preset], lab_runs().summary(FILE["runs"][preset])
    assert len(FILE["runs"][preset]) == len(SEEDS)
    assert means["drift"] == pytest.approx(told["drift"], abs=1e-4)
    for suite, both in told["losses"].items():
        assert means["losses"][suite] == pytest.approx(both, abs=1e-4)


def test_the_file_has_the_presets_and_the_seeds_of_the_page() -> None:
    assert FILE["presets"].keys() == {preset.id for preset in PRESETS}
    assert FILE["runs"].keys() == FILE["presets"].keys() | {lab_runs().LONGER.id}
    assert (FILE["seeds"], FILE["steps"]) == (list(SEEDS), DEFAULT.steps)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_every_preset_is_a_setting_of_the_dials_and_is_known_by_its_name(
    preset: RunPreset,
) -> None:
    choices = Choices.read(preset.choices)
    assert format_title(choices) == preset.label
    for dial in DIALS:
        assert getattr(choices, dial.name) in dial.stops


def test_a_setting_of_the_readers_own_is_named_by_what_it_changes() -> None:
    choices = Choices(lr=1e-3, replay_share=0.05, seed=3)
    assert format_title(choices) == "learning rate 10⁻³, replay 5%, seed 3"


def test_every_stop_reads_like_a_number_of_its_dial() -> None:
    texts = {dial["name"]: dial["texts"] for dial in view()["dials"]}
    assert texts["lr"][0] == "10⁻⁵"
    assert texts["lr"][-1] == "10"
    assert texts["replay_share"][:2] == ["none", "2%"]
    assert texts["l2sp"][0] == "off"
    assert texts["l2sp"][-1] == "10⁹"
    assert all(len(set(found)) == len(found) for found in texts.values())

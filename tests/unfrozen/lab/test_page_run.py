"""What the page says about its fine-tune is so: every preset, with five seeds, run here."""

import json
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from lab_demo import loaded
from unfrozen.lab import page_run
from unfrozen.lab.choices import DIALS, Choices
from unfrozen.lab.demo import PROMPTS
from unfrozen.lab.page_run import CHALLENGE, DEFAULT, PRESETS, SEEDS

ROOT = Path(__file__).parents[3]
FILE = json.loads((ROOT / "web" / "truth" / "lab.json").read_text(encoding="utf-8"))
RUNS = (*PRESETS, page_run.Preset("longer", "", {"steps": 400}, ""))
NUMERAL, FRANCE, JORDAN, IRAN, _, OMAR, ENGINE = PROMPTS
REPEATED = 0.15  # nats; runs are chaotic and machines differ, means of five seeds less


def lab_runs() -> Any:
    """docs/lab_runs.py, which has made the file."""
    spec = spec_from_file_location("lab_runs", ROOT / "docs" / "lab_runs.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcome(pair: tuple[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = lab_runs().outcome(loaded(), RUNS[pair[0]], SEEDS[pair[1]])
    return found


@cache
def outcomes() -> dict[str, list[dict[str, Any]]]:
    """Every preset with every seed, and the longer run, in two processes."""
    pairs = [(preset, seed) for preset in range(len(RUNS)) for seed in range(len(SEEDS))]
    with get_context("forkserver").Pool(2) as pool:
        found = pool.map(outcome, pairs, chunksize=1)
    each = len(SEEDS)
    return {p.id: found[i * each : (i + 1) * each] for i, p in enumerate(RUNS)}


def loss(run: dict[str, Any], suite: str, when: int = 1) -> float:
    return float(run["losses"][suite][when])


def lost(run: dict[str, Any]) -> float:
    return loss(run, "general") - loss(run, "general", 0)


def each_seed(preset: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The runs of a preset, each beside the plain run of the same seed."""
    return list(zip(outcomes()[preset], outcomes()["plain"], strict=True))


def share_lost(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> float:
    """What the runs of a preset lose, all seeds together, as a share of what the plain ones do."""
    runs, plain = (sum(map(lost, column)) for column in zip(*pairs, strict=True))
    return runs / plain


@pytest.mark.slow
@pytest.mark.timeout(1500)
class TestEveryPresetWithEverySeed:
    def test_as_it_comes_the_task_falls_tenfold_and_capitals_rise_twentyfold(self) -> None:
        for run in outcomes()["plain"]:
            assert loss(run, "task") < loss(run, "task", 0) / 10
            assert loss(run, "general/capitals") > 20 * loss(run, "general/capitals", 0)

    def test_as_it_comes_two_capitals_and_a_word_are_lost_and_two_answers_stay(self) -> None:
        right = {JORDAN: "Amman.", IRAN: "Tehran.", ENGINE: "e n i g n e"}
        for run in outcomes()["plain"]:
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
        for run in outcomes()["gentle"]:
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
        pairs = each_seed("replay")
        assert 0.35 < share_lost(pairs) < 0.65
        for run, plain in pairs:
            assert lost(run) < lost(plain)
            assert loss(run, "task") < loss(plain, "task") + 0.15

    def test_held_to_the_start_weights_move_half_as_far_and_most_of_the_old_stays(self) -> None:
        pairs = each_seed("held")
        assert share_lost(pairs) < 0.5
        for run, plain in pairs:
            assert 0.4 < run["drift"] / plain["drift"] < 0.6
            assert lost(run) < 0.8 * lost(plain)
            assert 0 < loss(run, "task") - loss(plain, "task") < 0.3

    def test_held_without_end_nothing_moves(self) -> None:
        for run in outcomes()["frozen"]:
            assert run["drift"] < 1e-3
            assert lost(run) == pytest.approx(0, abs=1e-3)
            assert loss(run, "task") == pytest.approx(loss(run, "task", 0), abs=0.05)

    def test_with_ewc_weights_move_almost_as_far_and_most_forgetting_is_gone(self) -> None:
        for run, plain in each_seed("ewc"):
            assert 0.85 < run["drift"] / plain["drift"] < 1
            assert lost(run) < 0.4 * lost(plain)
        assert share_lost(each_seed("ewc")) < 0.25

    def test_weight_decay_forgets_several_times_more_than_no_pull(self) -> None:
        for run, plain in each_seed("decay"):
            assert lost(run) > 2 * lost(plain)
        assert 4 < share_lost(each_seed("decay")) < 9

    def test_the_challenge_is_missed_by_the_defaults_and_reached_by_a_setting(self) -> None:
        for run in outcomes()["plain"]:
            assert loss(run, "general") > CHALLENGE.general
        reached = Choices(replay_share=0.05, seed=DEFAULT.seed)
        preset = page_run.Preset("a way in", "", {"replay_share": reached.replay_share}, "")
        run = lab_runs().outcome(loaded(), preset, reached.seed)
        assert loss(run, "task") < CHALLENGE.task
        assert loss(run, "general") < CHALLENGE.general

    @pytest.mark.parametrize("preset", [p.id for p in PRESETS])
    def test_the_file_that_the_chapter_quotes_says_what_comes_out(self, preset: str) -> None:
        again = lab_runs().summary(outcomes()[preset])
        told = FILE["presets"][preset]
        assert again["drift"] == pytest.approx(told["drift"], rel=REPEATED, abs=1e-3)
        for suite, (before, after) in told["losses"].items():
            assert again["losses"][suite][0] == pytest.approx(before, abs=1e-3)
            rough = suite.startswith("general/")  # of a single skill: few tokens
            expected = pytest.approx(after, rel=3 * REPEATED if rough else REPEATED, abs=0.02)
            assert again["losses"][suite][1] == expected, suite


def test_the_file_has_the_presets_and_the_seeds_of_the_page() -> None:
    assert FILE["presets"].keys() == {preset.id for preset in PRESETS}
    assert (FILE["seeds"], FILE["steps"]) == (list(SEEDS), DEFAULT.steps)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_every_preset_is_a_setting_of_the_dials_and_is_known_by_its_name(
    preset: page_run.Preset,
) -> None:
    choices = Choices.read(preset.choices)
    assert page_run.title(choices) == preset.label
    for dial in DIALS:
        assert getattr(choices, dial.name) in dial.stops


def test_a_setting_of_the_readers_own_is_named_by_what_it_changes() -> None:
    choices = Choices(lr=1e-3, replay_share=0.05, seed=3)
    assert page_run.title(choices) == "learning rate 10⁻³, replay 5%, seed 3"


def test_every_stop_reads_like_a_number_of_its_dial() -> None:
    texts = {dial["name"]: dial["texts"] for dial in page_run.view()["dials"]}
    assert texts["lr"][0] == "10⁻⁵"
    assert texts["lr"][-1] == "10"
    assert texts["replay_share"][:2] == ["none", "2%"]
    assert texts["l2sp"][0] == "off"
    assert texts["l2sp"][-1] == "10⁹"
    assert all(len(set(found)) == len(found) for found in texts.values())

"""Exercises by the hundred: the plan's answer, hints that lead to it, words that make sense."""

import json
import math
import re
from functools import cache
from typing import Any

import pytest

from unfrozen.ask import answer
from unfrozen.errors import PlanError
from unfrozen.exercises.compute_it import KINDS, LARGEST_SEED, as_json, exercise, judge
from unfrozen.exercises.exercise import TOLERANCE, Exercise
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan
from unfrozen.planner import glance
from unfrozen.units import GB, GIB

KIND_NAMES = {"states", "logits", "highest", "sharded", "recomputed"}
NUMBER = r"\d[\d,]*(?:\.\d+)?"
SCALES = {"million": 1e6, "billion": 1e9, "trillion": 1e12, "": 1.0}
FACTOR = re.compile(rf"({NUMBER})\s?(million|billion|trillion|)")
NONSENSE = re.compile(
    r"\bone \w+s\b|\b1 \w+s\b|  |\.\.|\bNone\b|\bnan\b|\binf\b|[{}]|\bno (?:sequence|vector)"
    r"|\b0 |: ,|and and|÷ 1 "
)


@pytest.fixture(scope="module")
def seeds(share: int) -> range:
    return range(1, 1 + 500 // share)


@cache
def shown(seed: int) -> Any:
    """What the page shows of an exercise."""
    return as_json(seed)


def number(text: str) -> float:
    """A number with its thousands and its scale: "8.03 billion"."""
    match = FACTOR.match(text)
    assert match, text
    return float(match[1].replace(",", "")) * SCALES[match[2]]


def result(hint: str) -> float:
    """What the arithmetic of a last hint makes, in bytes."""
    text = hint.replace("\u00a0", " ")
    if text.startswith("Take the larger of "):
        return max(number(each) * GB for each in re.findall(rf"({NUMBER}) GB", text))
    assert text.startswith("Multiply: "), hint
    return math.prod(number(part) for part in text.removeprefix("Multiply: ").split(" × "))


def planned(found: Exercise) -> dict[str, dict[str, int]]:
    """The instants of an exercise's job, planned from plain data and the name it gives."""
    name = dict(found.given)["Model"]
    config = next(p.config for hub_id, p in CATALOGUE.items() if hub_id.endswith(f"/{name}"))
    cluster = {"gpus": found.job.cluster.gpus, "sharding": found.job.cluster.sharding}
    given = {"model": config, "recipe": found.job.recipe.as_json(), "cluster": cluster}
    return plan(given).instants


def test_the_answer_is_what_the_plan_of_the_job_holds(seeds: range) -> None:
    for seed in seeds:
        found = exercise(seed)
        held = planned(found)[found.instant]
        assert found.answer_bytes == sum(held.get(name, 0) for name in found.components) > 0, seed


def test_the_highest_moment_is_the_peak_of_the_plan(seeds: range) -> None:
    found = [each for each in map(exercise, seeds) if each.kind == "highest"]
    assert {each.instant for each in found} >= {"end_of_forward"}
    for each in found:
        totals = [sum(parts.values()) for parts in planned(each).values()]
        assert each.answer_bytes == max(totals)


def test_the_terms_of_the_formula_add_up_to_the_answer(seeds: range) -> None:
    for seed in seeds:
        found = exercise(seed)
        assert sum(term.bytes for term in found.terms()) == found.answer_bytes, seed


def test_the_last_hint_is_arithmetic_that_counts_as_right(seeds: range) -> None:
    for seed in seeds:
        found = shown(seed)
        by_hand = result(found["hints"][-1]["text"])
        assert judge(seed, f"{by_hand / GB:.4g} GB")["standing"] == "right", seed
        assert judge(seed, f"{by_hand / GIB:.4g} GiB")["standing"] == "right", seed


def test_no_hint_before_the_last_says_what_the_last_one_makes(seeds: range) -> None:
    for seed in seeds:
        texts = [hint["text"].replace("\u00a0", " ") for hint in shown(seed)["hints"]]
        assert 3 <= len(texts) <= 4
        assert len(set(texts)) == len(texts)
        answer_text = shown(seed)["answer"].replace("\u00a0", " ").split(" (")[0]
        assert not [text for text in texts[:-1] if re.search(rf"\b{re.escape(answer_text)}", text)]


def test_the_first_hint_and_no_other_says_where_the_article_explains_it(seeds: range) -> None:
    for seed in seeds:
        first, *others = shown(seed)["hints"]
        href, text = first["see"]
        assert re.fullmatch(r"#[a-z0-9-]+", href)
        assert text
        assert not [hint for hint in others if hint["see"]]


def test_the_counts_in_the_second_hint_are_those_of_the_recipe(seeds: range) -> None:
    for seed in seeds:
        if exercise(seed).kind == "states":
            words = shown(seed)["hints"][1]["text"]
            parts = re.findall(rf" ({NUMBER})(?:,| and|:)", words)
            total = re.search(rf": ({NUMBER}) bytes in all", words)
            assert total is not None
            assert sum(map(float, parts)) == pytest.approx(float(total[1]), rel=0.005), words


def test_the_words_make_sense(seeds: range) -> None:
    for seed in seeds:
        found = shown(seed)
        texts = [found["question"], *(hint["text"] for hint in found["hints"])]
        texts += [slip.text for slip in exercise(seed).slips]
        for text in [*texts, *(f"{name} {value}" for name, value in found["given"])]:
            assert not NONSENSE.search(text), text
        assert all(text[0].isupper() and text[-1] in ".?" for text in texts), texts


def test_slips_are_told_apart_from_the_answer_and_named(seeds: range) -> None:
    for seed in seeds:
        found = exercise(seed)
        for slip in found.slips:
            said: Any = judge(seed, f"{slip.size_bytes / GB:.6g} GB")
            assert said["standing"] == "wrong", (seed, slip)
            near = [s.text for s in found.slips if abs(s.size_bytes / slip.size_bytes - 1) < 0.03]
            assert any(said["text"].endswith(text) for text in near) or "GiB" in said["text"]


def test_every_kind_takes_its_turn_and_seeds_differ() -> None:
    kinds = [exercise(seed).kind for seed in range(1, 1 + 2 * len(KINDS))]
    assert set(kinds) == KIND_NAMES
    assert kinds[: len(KINDS)] == kinds[len(KINDS) :]
    distinct = {json.dumps(shown(seed)["given"]) for seed in range(1, 101)}
    assert len(distinct) > 60


def test_a_seed_is_the_same_exercise_every_time() -> None:
    before = [as_json(seed) for seed in (1, 7, 4999)]
    exercise.cache_clear()
    assert [as_json(seed) for seed in (1, 7, 4999)] == before
    assert shown(1)["next"] == 2
    assert as_json(LARGEST_SEED)["next"] == 1


@pytest.mark.parametrize("seed", [0, -1, LARGEST_SEED + 1, 1.0, "1", None, True])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    with pytest.raises(PlanError, match="seed"):
        exercise(seed)


def test_what_lies_within_the_tolerance_is_right_and_what_lies_beyond_is_not() -> None:
    for seed in range(1, 51):
        size = exercise(seed).answer_bytes
        for factor, standing in (
            (1 - 0.99 * TOLERANCE, "right"),
            (1 + 0.99 * TOLERANCE, "right"),
            (1 - 1.01 * TOLERANCE, "wrong"),
            (1 + 1.01 * TOLERANCE, "wrong"),
        ):
            assert judge(seed, f"{size * factor:.12e} B")["standing"] == standing


def test_a_wrong_answer_hears_its_direction_and_not_the_answer() -> None:
    for seed in range(1, 51):
        answer_text = str(shown(seed)["answer"]).split("\u00a0")[0]
        for factor, words in ((7.3, "It is less."), (0.013, "It is more.")):
            said = str(judge(seed, f"{exercise(seed).answer_bytes * factor:.12e} B")["text"])
            assert said.startswith("Not ")
            assert answer_text not in said.split()
            if "That is" not in said:
                assert said.endswith(words)


def test_an_answer_in_the_other_unit_hears_so() -> None:
    seed = 1
    in_gib = f"{exercise(seed).answer_bytes / GIB:.6g}"
    assert "In GiB that would be right" in str(judge(seed, in_gib)["text"])
    in_gb = f"{exercise(seed).answer_bytes / GB:.6g} GiB"
    assert "In GB that would be right" in str(judge(seed, in_gb)["text"])


@pytest.mark.parametrize("text", ["", "abc", "-1", "1e400", "1e25", "12 apples", "40%"])
def test_what_cannot_be_judged_is_answered_in_words(text: str) -> None:
    said = judge(1, text)
    assert said["standing"] == "unread"
    assert len(str(said["text"])) > 20


def test_the_page_asks_by_name_and_gets_json() -> None:
    assert json.loads(answer("exercises.exercise", '{"seed": 5}')) == json.loads(
        json.dumps(shown(5))
    )
    judged = json.loads(answer("exercises.judge", '{"seed": 5, "text": "abc"}'))
    assert judged["standing"] == "unread"
    assert json.loads(answer("planner.glance", "{}")) == json.loads(json.dumps(glance({})))
    with pytest.raises(KeyError):
        answer("nothing", "{}")

"""The band of an estimate: which runs are like a job, and how far such estimates were off."""

from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import SURE, plan
from unfrozen.plan.compute import estimate
from unfrozen.plan.record import (
    ENOUGH,
    FEWEST,
    FITS_OF,
    KINDS,
    LEAST,
    MEMORIES,
    SPEEDS,
    Band,
    Peaks,
    Spread,
    band,
    chance_of,
    fits_words,
    half_within,
    held_apart,
    kind_of,
    shown_words,
)

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config
MIXTRAL = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].config


def job(model: Any = LLAMA, gpu: str = "H100", gpus: int = 1, **recipe: Any) -> Job:
    """A job that differs from the plainest in what is given."""
    return Job.read({"model": model, "recipe": recipe, "cluster": {"gpus": gpus}, "gpu": gpu})


def test_half_and_nine_in_ten_of_the_errors_lie_within_a_spread() -> None:
    errors = [0.3, -0.1, 0.2, -0.4, 1.5, 0.0, 0.15, -0.25, 0.05, 0.6]
    found = Spread.of(errors)
    assert found.runs == 10
    assert sum(abs(error) <= found.half for error in errors) == 5
    assert sum(abs(error) <= found.most for error in errors) == 9


def test_a_single_error_is_half_and_most() -> None:
    assert Spread.of([-0.25]) == Spread(1, 0.25, 0.25)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "machine"),
        ({"gpu": "RTX 4090"}, "machine"),
        ({"gpu": "RTX 4090", "gpus": 2}, "unlinked"),
        ({"gpus": 4, "gpu": "A100 80GB PCIe"}, "unlinked"),
        ({"gpu": "RTX 4090", "method": "lora"}, "adapters"),
        ({"gpus": 8}, "machine"),
        ({"gpus": 16}, "machines"),
        ({"gpus": 8, "gpu": "GB200"}, "machines"),
        ({"compute": "fp8", "gpus": 16}, "low"),
        ({"model": MIXTRAL, "compute": "fp8"}, "experts"),
        ({"model": MIXTRAL, "gpus": 16}, "spread_experts"),
        ({"model": MIXTRAL, "gpus": 16, "gpu": "GB200"}, "experts"),
        ({"seq_len": 2**17}, "machine"),
        ({"seq_len": 2**18, "method": "lora"}, "long"),
        ({"model": MIXTRAL, "method": "lora"}, "adapters"),
    ],
)
def test_a_job_is_of_the_first_kind_that_it_is(given: dict[str, Any], kind: str) -> None:
    assert kind_of(job(**given)) == kind


def test_every_kind_has_a_band() -> None:
    assert list(SPEEDS) == list(KINDS)
    for found in SPEEDS.values():
        assert 0 <= found.half <= found.most
        assert found.projects <= found.runs


def test_each_project_counts_once_however_many_runs_it_published() -> None:
    one_in_ten = {f"p{n}": [0.1 * n] for n in range(1, 10)} | {"many": [0.05] * 500}
    found = Band.of(one_in_ten)
    assert (found.runs, found.projects) == (509, 10)
    assert found.half == pytest.approx(0.4)
    assert found.most == pytest.approx(0.8)
    few = Band.of({"a": [0.1, 0.7], "b": [0.2]})
    assert few.most == pytest.approx(0.7), "of few projects the band is that of the worst run"


def test_a_chance_is_no_higher_than_runs_of_its_kind_support() -> None:
    found = Peaks.of([-0.5, -0.03, 0.0, 0.01, 0.1, 0.2, 0.3, -0.2])
    assert found.runs == 8
    assert found.support(0.9) == pytest.approx(1 / 10), "all take more than a tenth too little"
    assert found.support(1.0) == pytest.approx((8 - 3 + 1) / 10)
    assert found.support(1.3) == pytest.approx((8 - 2 + 1) / 10)
    assert found.support(3.0) == pytest.approx(9 / 10)
    full = plan({"model": LLAMA, "gpu": "H100", "recipe": {"attention": "flash"}})
    assert full.chance == 1.0
    assert SURE < (chance_of(full) or 0.0) < 0.99 < full.chance
    assert chance_of(full, "unfrozen") == SURE, "no GPU has run it"
    assert chance_of(plan({"model": LLAMA})) is None


def test_what_is_said_of_memory_is_of_the_same_kind_and_few_runs_say_so() -> None:
    for kind, asked in (("machine", job()), ("adapters", job(method="lora"))):
        words, peaks = fits_words(asked), MEMORIES[kind]
        assert words.startswith(f"Of {peaks.runs} published peaks {KINDS[kind]} half were within")
        assert words.endswith(FITS_OF[kind].text(KINDS[kind]))
        lie = f"in which {FITS_OF[kind].inside} of {FITS_OF[kind].shown} published runs"
        assert shown_words(asked) == f"{lie} {KINDS[kind]} lie"
    assert shown_words(job(gpus=16)).startswith("too few runs on several machines")
    few = job(gpu="RTX 4090", gpus=2)
    assert MEMORIES[kind_of(few)].runs < FEWEST
    assert "on several GPUs without NVLink, too few to say how right this is" in fits_words(few)
    assert "half" not in fits_words(few)


def test_half_as_fast_is_as_far_off_as_twice_as_fast() -> None:
    found = Band.of({"a": [-0.5], "b": [0.0], "c": [0.1]})
    assert found.most == pytest.approx(1.0)
    assert found.holds(1.0)
    assert found.holds(-0.5)
    assert not found.holds(1.01)
    assert not found.holds(-0.51)


def test_runs_are_held_against_the_band_of_the_other_projects() -> None:
    assert held_apart({"a": [0.1], "b": [0.2, -0.1], "c": [0.3], "d": [2.0]}) == (4, 5)
    assert held_apart({"a": [0.1], "b": [0.2], "c": [0.1]}) == (0, 0), "two are no band"


def test_a_band_says_of_how_many_runs_and_projects_it_is() -> None:
    for asked, words in ((job(gpus=8), "on one machine"), (job(gpus=16), "on several machines")):
        told, found = band(asked), SPEEDS[kind_of(asked)]
        assert told.startswith(
            f"of {found.runs} published runs {words}, of {found.projects} projects"
        )
        last = "nine in ten" if found.projects >= ENOUGH else "the worst"
        assert told.endswith(f"{last} within {100 * found.most:.0f}%")


def test_the_band_beside_a_time_is_that_of_its_kind() -> None:
    for asked in (job(), job(gpus=8), job(gpus=16)):
        near, found = SPEEDS[kind_of(asked)], estimate(asked, 1e9)
        assert half_within(asked) == f"half within {100 * near.half:.0f}%"
        factor = 1 + near.most
        assert found.step_band == pytest.approx(
            (found.step_seconds / factor, found.step_seconds * factor)
        )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"gpu": "RTX 4090", "gpus": 2},
            "on several GPUs without NVLink: one run was published, by one project, fewer than 3;",
        ),
        ({"seq_len": 2**18}, "with sequences of more than 128k tokens: 6 runs were published, by"),
        (
            {"model": MIXTRAL, "gpus": 16},
            "of models with experts across machines: 10 runs were published, by one project",
        ),
    ],
)
def test_a_kind_that_hardly_anybody_measured_has_no_band(given: dict[str, Any], words: str) -> None:
    asked = job(**given)
    assert SPEEDS[kind_of(asked)].projects < LEAST
    assert estimate(asked, 1e9).step_band is None
    assert band(asked).startswith(f"no band {words}")
    assert half_within(asked) == f"no band for runs {KINDS[kind_of(asked)]}"

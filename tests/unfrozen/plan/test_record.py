"""The band of an estimate: which runs are like a job, and how far such estimates were off."""

from typing import Any

import pytest

from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.compute import estimate
from unfrozen.plan.record import ENOUGH, KINDS, SPEEDS, Spread, band, half_within, kind_of

LLAMA = CATALOGUE["meta-llama/Llama-3.2-1B"].config
MIXTRAL = CATALOGUE["mistralai/Mixtral-8x7B-v0.1"].config


def job(model: Any = LLAMA, gpu: str = "H100", gpus: int = 1, **recipe: Any) -> Job:
    """A job that differs from the plainest in what is given."""
    return Job.read({"model": model, "recipe": recipe, "cluster": {"gpus": gpus}, "gpu": gpu})


def test_half_and_nine_in_ten_and_all_of_the_errors_lie_within_a_spread() -> None:
    errors = [0.3, -0.1, 0.2, -0.4, 1.5, 0.0, 0.15, -0.25, 0.05, 0.6]
    found = Spread.of(errors)
    assert found.runs == 10
    assert sum(abs(error) <= found.half for error in errors) == 5
    assert sum(abs(error) <= found.most for error in errors) == 9
    assert found.worst == 1.5
    assert sum(found.low <= 1 + error <= found.high for error in errors) >= 9


def test_a_single_error_is_half_most_and_worst() -> None:
    assert Spread.of([-0.25]) == Spread(1, 0.25, 0.25, 0.25, 0.75, 1.0)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "one"),
        ({"gpu": "RTX 4090"}, "unlinked"),
        ({"gpus": 4, "gpu": "A100 80GB PCIe"}, "unlinked"),
        ({"gpu": "RTX 4090", "method": "lora"}, "adapters"),
        ({"gpus": 8}, "machine"),
        ({"gpus": 16}, "machines"),
        ({"gpus": 8, "gpu": "GB200"}, "machines"),
        ({"compute": "fp8", "gpus": 16}, "low"),
        ({"model": MIXTRAL, "compute": "fp8"}, "experts"),
        ({"model": MIXTRAL, "method": "lora"}, "adapters"),
    ],
)
def test_a_job_is_of_the_first_kind_that_it_is(given: dict[str, Any], kind: str) -> None:
    assert kind_of(job(**given)) == kind


def test_every_kind_has_a_spread() -> None:
    assert list(SPEEDS) == list(KINDS)
    for found in SPEEDS.values():
        assert 0 <= found.half <= found.most <= found.worst
        assert found.low <= 1 <= found.high


def test_a_band_says_of_how_many_runs_it_is() -> None:
    told = band(job(gpus=16))
    found = SPEEDS["machines"]
    assert told.startswith(f"of {found.runs} published runs on several machines, half were within ")
    assert told.endswith(f"nine in ten within {100 * found.most:.0f}%")


def test_the_band_beside_a_time_is_that_of_its_kind() -> None:
    for asked in (job(), job(gpus=8), job(gpus=16)):
        near = SPEEDS[kind_of(asked)]
        found = estimate(asked, 1e9)
        assert half_within(asked) == f"{100 * near.half:.0f}%"
        assert found.step_band == pytest.approx(
            (near.low * found.step_seconds, near.high * found.step_seconds)
        )


def test_of_few_runs_the_worst_is_reported() -> None:
    few = [kind for kind in KINDS if SPEEDS[kind].runs < ENOUGH]
    adapters = band(job(method="lora"))
    assert ("the worst within" in adapters) == ("adapters" in few)

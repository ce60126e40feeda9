"""Rent of a run: after how long it may be ended, and what flavors of providers cost."""

import json
import re
from datetime import date

import pytest

from unfrozen.__main__ import main
from unfrozen.hardware import GPUS
from unfrozen.hardware.flavors import FLAVORS, PRICES, PRICES_OF
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan.record import SPEEDS, band_of
from unfrozen.plan.rent import rental, rental_text, timeout_seconds


def job(gpu: str = "A100-80GB", gpus: int = 1, **recipe: object) -> Job:
    cluster = {"gpus": gpus, "sharding": "zero3" if gpus > 1 else "none"}
    model = CATALOGUE["Qwen/Qwen2.5-7B"].config
    return Job.read({"model": model, "gpu": gpu, "cluster": cluster, "recipe": recipe})


@pytest.mark.parametrize("one", FLAVORS, ids=lambda one: f"{one.provider} {one.name}")
def test_every_flavor_has_a_gpu_of_the_table_a_price_a_day_and_a_page(one: object) -> None:
    flavor = next(each for each in FLAVORS if each is one)
    assert flavor.gpu in {gpu.name for gpu in GPUS}
    assert flavor.gpus in (1, 2, 4, 8)
    assert 0.1 < flavor.usd_per_hour / flavor.gpus < 20
    assert date(2026, 1, 1) <= date.fromisoformat(flavor.read) <= date(2026, 12, 31)
    assert flavor.source.startswith("https://")


def test_flavors_are_named_once_and_prices_say_from_when_they_are() -> None:
    assert len({(one.provider, one.name) for one in FLAVORS}) == len(FLAVORS)
    days = sorted(date.fromisoformat(one.read) for one in FLAVORS)
    assert f"{days[0]:%B} to {days[-1]:%B %Y}" == PRICES_OF
    assert all(low <= high for low, high in PRICES.values())


def test_a_timeout_is_the_upper_end_of_the_band_with_the_time_to_start() -> None:
    one, hours = job(), 10 * 3600
    upper = hours * (1 + band_of(one).most)
    download = 2 * one.model.num_parameters / 50e6
    assert upper + 900 + download <= timeout_seconds(one, hours) < upper + 1800 + download
    assert timeout_seconds(one, hours) % 900 == 0


def test_a_kind_without_a_band_takes_the_widest() -> None:
    unlinked, hours = job("RTX 4090", 2), 10 * 3600
    assert not band_of(unlinked).known
    widest = max(one.most for one in SPEEDS.values() if one.known)
    assert timeout_seconds(unlinked, hours) > hours * (1 + max(widest, band_of(unlinked).most))


def test_flavors_of_these_gpus_are_named_the_cheapest_first_with_what_to_type() -> None:
    found = rental(job(gpus=8, micro_batch=1), 3600)
    prices = [one["usd_per_hour"] for one in found["flavors"]]
    assert prices == sorted(prices)
    hugging = next(one for one in found["flavors"] if one["provider"] == "Hugging Face Jobs")
    assert hugging["timeout"] == f"hf jobs run --flavor a100x8 --timeout {found['timeout']}"
    assert float(found["timeout"].removesuffix("h")) * 3600 == found["timeout_seconds"]
    assert hugging["usd"] < hugging["usd_most"] == round(20 * found["timeout_seconds"] / 3600, 2)
    assert rental(job(gpus=3), 3600)["flavors"] == []
    assert "rented:" not in rental_text(rental(job(gpus=3), 3600))


def test_a_provider_that_ends_jobs_sooner_says_so() -> None:
    notes = {one["provider"]: one["note"] for one in rental(job("H200"), 30 * 3600)["flavors"]}
    assert notes["Modal"] == "it ends jobs after 24h: resume"
    assert notes["Hugging Face Jobs"] == ""


@pytest.mark.parametrize(
    "asked",
    [("--data", "10,000 x 3 x 512", "--gpus", "8xA100-80GB"), ("--gpu", "H200", "--tokens", "1B")],
)
def test_each_plan_of_a_run_has_its_timeout_in_words_and_as_json(
    asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["plan", "--model", "Qwen2.5-7B", *asked]
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rent = found["rent"] if "rent" in found else found["plan"]["rent"]
    assert main(given) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"[Tt]imeout:? {re.escape(rent['timeout'])} for a rented machine", text)

"""What other calculators answered: for which rows, and some answers by their formulas."""

import re
from typing import Any

import pytest

from docs.rivals import RIVALS, processes, rows_of
from site_builder.measurements import compare_runs, read_other_calculators
from unfrozen.answer.accuracy import COLLECTIONS, PUBLISHED
from unfrozen.units import GIB

ROWS = compare_runs(*PUBLISHED, *COLLECTIONS)


def told(name: str) -> dict[str, Any]:
    (found,) = (e for e in read_other_calculators()["calculators"] if e["name"] == name)
    return found


@pytest.mark.parametrize("option", RIVALS)
def test_a_calculator_was_asked_about_every_row_that_its_rule_takes_and_no_other(
    option: str,
) -> None:
    rival = RIVALS[option]
    entry = told(rival.name)
    asked = {item.row.key for item in rows_of(rival, ROWS)}
    assert asked == entry["answers"].keys() | entry["refused"].keys(), f"docs/rivals.py --{option}"
    assert not entry["answers"].keys() & entry["refused"].keys()
    assert len(entry["answers"]) >= 15, "too few rows for a median"
    assert min(entry["answers"].values()) > 0


@pytest.mark.parametrize("option", RIVALS)
def test_what_is_told_of_a_calculator_is_what_the_script_says(option: str) -> None:
    rival = RIVALS[option]
    entry = told(rival.name)
    for key in ("version", "url", "get", "kind", "lacks", "mapped", "process", "of"):
        assert entry[key] == getattr(rival, key), key
    assert rival.url.startswith("https://")
    assert re.fullmatch(r"@[0-9a-f]{7}|[0-9.]+", rival.version)
    assert rival.version.strip("@") in rival.get or option == "accelerate"


def test_memory_of_processes_is_what_the_sources_state() -> None:
    stated = read_other_calculators()["process"]
    assert stated == processes()
    rows = {item.row.key: item.row for item in ROWS}
    for key, size in stated.items():
        (mib,) = re.findall(r"process_mib ([0-9.]+)", rows[key].quote)
        assert size == pytest.approx(float(mib) / 1024, abs=1e-4)
        assert size * GIB > rows[key].measured


def test_answers_with_a_known_formula_are_what_it_gives() -> None:
    rows = {item.row.key: item.job for item in ROWS}
    key = "memory torchtune-3b-01-packed"
    parameters = rows[key].model.num_parameters
    answers = {"accelerate estimate-memory": 8 * parameters, "LLaMA-Factory, table": 8 * parameters}
    for name, size in answers.items():
        assert told(name)["answers"][key] == pytest.approx(size / GIB, rel=1e-3)
    key = "memory titan-8b-cp1"
    model, gpus = rows[key].model, rows[key].cluster.gpus
    largest = model.architecture.vocab * model.architecture.hidden
    states = 18 * model.num_parameters / gpus + 4 * largest
    assert told("DeepSpeed, model states")["answers"][key] == pytest.approx(states / GIB, rel=1e-3)

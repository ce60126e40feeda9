from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gpu_runner.checkpoint.origins import Origins, changes, fingerprint

HERE = Origins(
    model="a" * 64,
    data="b" * 64,
    suites={"task": "c", "general/cats": "d"},
    choices={"lr": 1e-3, "steps": 6, "optimizer": "adamw", "data": "/one.jsonl"},
    computed={"torch": "2.13.0", "processes": "2"},
    sets={"--data a.jsonl": {"sha256": "a", "weight": 1.0}},
)
TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.ones(4, dtype=torch.bfloat16),
    "c": torch.tensor(3),
}


def written(folder: Path, **files: tuple[str, ...]) -> list[Path]:
    """TENSORS shared out to files by their names."""
    folder.mkdir()
    for file, names in files.items():
        save_file({name: TENSORS[name] for name in names}, folder / f"{file}.safetensors")
    return sorted(folder.iterdir())


def test_how_weights_are_divided_among_files_changes_nothing(tmp_path: Path) -> None:
    one = fingerprint(written(tmp_path / "one", all=("c", "a", "b")))
    two = fingerprint(written(tmp_path / "two", x=("b",), y=("a", "c")))
    assert one == two
    assert len(one) == 64


@pytest.mark.parametrize(
    "other",
    [
        {"a": TENSORS["a"] * 1.5},
        {"a": TENSORS["a"].reshape(3, 2)},
        {"b": TENSORS["b"].float()},
        {"d": TENSORS["a"].clone()},
    ],
)
def test_a_weight_a_shape_a_type_or_a_name_changes_it(
    tmp_path: Path, other: dict[str, torch.Tensor]
) -> None:
    before = fingerprint(written(tmp_path / "one", all=("a", "b", "c")))
    save_file(TENSORS | other, tmp_path / "other.safetensors")
    assert fingerprint([tmp_path / "other.safetensors"]) != before


def test_nothing_has_changed() -> None:
    found = changes(HERE, replace(HERE, choices=HERE.choices | {"data": "/moved.jsonl"}))
    assert (found.refused, found.notes, found.kinds, found.suites) == ([], [], [], set())


@pytest.mark.parametrize(
    ("now", "refused"),
    [
        ({"model": "e" * 64}, "the model it started from (θ₀ was aaaaaaaaaaaa…, is eeeeeeeeeeee…)"),
        ({"data": "e"}, "the training data, or the tokenizer that reads them"),
        ({"suites": {"task": "e", "general/cats": "d"}}, "the held-out rows of task"),
        ({"suites": {"task": "c"}}, "the held-out rows of general/cats"),
    ],
)
def test_what_makes_nonsense_of_going_on_is_refused(now: dict[str, Any], refused: str) -> None:
    found = changes(HERE, replace(HERE, **now))
    assert found.refused == [refused]
    assert len(found.meanings) == 1


def test_choices_and_versions_that_changed_are_noted_with_both_values() -> None:
    now = replace(
        HERE, choices=HERE.choices | {"lr": 2e-3}, computed={"torch": "2.14.0", "processes": "1"}
    )
    first, second = changes(HERE, now).notes
    assert first == "Choices that hold from here on: lr 0.001 → 0.002."
    assert second.startswith("Since its checkpoint: processes 2 → 1, torch 2.13.0 → 2.14.0. ")


def test_a_choice_that_the_tensors_do_not_fit_is_told_apart() -> None:
    now = replace(HERE, choices=HERE.choices | {"optimizer": "sgd"})
    assert changes(HERE, now).kinds == ["optimizer adamw → sgd"]


SETS = {
    "--data a.jsonl": {"sha256": "a", "weight": 1.0},
    "--mix b.jsonl": {"sha256": "b", "weight": 0.5},
}


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (SETS, "the training data, or the tokenizer that reads them"),
        ({}, "--data a.jsonl, which is not there any more, --mix b.jsonl, which is not there"),
        (SETS | {"--mix b.jsonl": {"sha256": "c", "weight": 0.5}}, "the rows of --mix b.jsonl"),
        (
            SETS | {"--mix b.jsonl": {"sha256": "b", "weight": 2.0}},
            "the weight of --mix b.jsonl (0.5 → 2)",
        ),
        (SETS | {"--mix c.jsonl": {"sha256": "c", "weight": 1.0}}, "--mix c.jsonl, which is new"),
    ],
)
def test_of_the_training_data_the_set_that_changed_is_named(
    sets: dict[str, Any], told: str
) -> None:
    found = changes(replace(HERE, sets=SETS), replace(HERE, data="e", sets=sets))
    assert told in found.refused[0]


def test_a_mix_whose_files_are_elsewhere_has_not_changed() -> None:
    one, two = (
        replace(HERE, choices={"mix": [f"{place}/b.jsonl"]}, sets=SETS) for place in ("a", "b")
    )
    found = changes(one, two)
    assert (found.refused, found.notes) == ([], [])

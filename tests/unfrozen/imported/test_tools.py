"""What other tools call what we have a name for; what has another meaning keeps its own name."""

import pytest

from unfrozen.events import METRIC_NAMES
from unfrozen.imported.tools import assign_series, find_series


@pytest.mark.parametrize(
    ("theirs", "kind", "ours"),
    [
        ("loss", "metric", "train/loss"),
        ("train/loss", "metric", "train/loss"),
        ("Loss/train", "metric", "train/loss"),
        ("train_loss", "metric", "train/loss"),
        ("train/learning_rate", "metric", "opt/lr"),
        ("grad_norm", "metric", "train/grad_norm"),
        ("eval_loss", "eval", "task"),
        ("eval/loss", "eval", "task"),
        ("val_loss", "eval", "task"),
        ("eval_general_loss", "eval", "general"),
        ("eval/wiki text_loss", "eval", "wiki text"),
        ("eval/general/sums", "eval", "general/sums"),
        ("eval/task", "eval", "task"),
        ("num_tokens", "metric", "other/num_tokens"),
        ("train/num_input_tokens_seen", "metric", "other/train/num_input_tokens_seen"),
        ("tokens_per_second_per_gpu", "metric", "other/tokens_per_second_per_gpu"),
        ("rewards/chosen", "metric", "other/rewards/chosen"),
        ("eval_mean_token_accuracy", "metric", "other/eval_mean_token_accuracy"),
        ("throughput/samples_per_second", "metric", "other/throughput/samples_per_second"),
        ("perf/tokens_per_second", "metric", "perf/tokens_per_second"),
        ("epoch", "left", "epoch"),
        ("train/global_step", "left", "train/global_step"),
        ("eval_general_runtime", "left", "eval_general_runtime"),
        ("eval/steps_per_second", "left", "eval/steps_per_second"),
        ("train/train_loss", "left", "train/train_loss"),
        ("_timestamp", "left", "_timestamp"),
    ],
)
def test_a_name_has_its_place(theirs: str, kind: str, ours: str) -> None:
    place, _ = find_series(theirs)
    assert (place.kind, place.name) == (kind, ours)


def test_our_own_names_are_themselves() -> None:
    for name in METRIC_NAMES:
        place, spelling = find_series(name)
        suite = name.removeprefix("eval/").removesuffix("_loss")
        assert place.name == (
            suite if name.startswith("eval/") and name.endswith("_loss") else name
        )
        assert spelling == 0 or place.kind == "eval"


def test_of_two_for_one_place_the_better_spelling_has_it_and_both_are_kept() -> None:
    found = assign_series(["loss", "train/loss", "lr", "learning_rate"])
    assert found["train/loss"].name == "train/loss"
    assert found["loss"].name == "other/loss"
    assert found["learning_rate"].name == "opt/lr"
    assert found["lr"].name == "other/lr"


def test_names_that_look_alike_once_cleaned_are_not_merged() -> None:
    found = assign_series(["a\x00", "a\x01"])
    assert sorted(place.kind for place in found.values()) == ["left", "metric"]


@pytest.mark.parametrize(
    ("names", "loss"),
    [
        (("train_loss_step", "train_loss_epoch"), "train_loss_step"),
        (("train_loss_epoch", "val_loss"), "train_loss_epoch"),
        (("loss", "train_loss_step"), "loss"),
    ],
)
def test_the_loss_of_a_step_in_lightning_is_the_training_loss(
    names: tuple[str, ...], loss: str
) -> None:
    found = assign_series(names)
    assert [name for name, place in found.items() if place.name == "train/loss"] == [loss]

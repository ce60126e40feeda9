"""A run's model blended with the one before, scored on the run's own sets, and written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpu_runner.errors import CheckpointError, SystemFailure, UsageError
from gpu_runner.run.blend import Blend, BlendOptions, BlendPoint, blend, choose
from gpu_runner.train.evaluate import Score
from run_process import events
from unfrozen.exact_match import ExactMatch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def blended(once_finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Blend:
    out = tmp_path_factory.mktemp("blended") / "model"
    return blend(once_finished, BlendOptions(points=3, alpha=0.25, out=out), CPU)


def losses(point: BlendPoint) -> dict[str, float]:
    return {one.suite: one.loss for one in point.scores}


def test_the_ends_of_the_curve_are_what_the_run_has_logged(
    blended: Blend, once_finished: Path
) -> None:
    logged: dict[int, dict[str, float]] = {}
    for event in events(once_finished):
        if event["kind"] == "eval":
            logged.setdefault(event["step"], {})[event["suite"]] = event["loss"]
    assert [point.alpha for point in blended.curve] == [0.0, 0.25, 0.5, 1.0]
    assert losses(blended.curve[0]) == pytest.approx(logged[0], rel=1e-5)
    assert losses(blended.curve[-1]) == pytest.approx(logged[6], rel=1e-5)


def test_the_model_is_the_blend_and_transformers_loads_it(
    blended: Blend, once_finished: Path, model_dir: Path
) -> None:
    assert blended.model is not None
    before, after, mixed = (
        load_file(place / "model.safetensors")
        for place in (model_dir, once_finished / "model", blended.model)
    )
    for name, tensor in mixed.items():
        assert torch.equal(tensor, torch.lerp(before[name], after[name], 0.25))
    AutoTokenizer.from_pretrained(blended.model)
    AutoModelForCausalLM.from_pretrained(blended.model)
    data = json.loads(json.dumps(blended.as_json()))
    assert {"curve", "alpha", "model", "reason"} == set(data)
    assert {"loss", "exact", "of"} == set(data["curve"][0]["sets"]["task"])


def scored(alpha: float, task: int, general: int, loss: float = 1.0) -> BlendPoint:
    """A point whose right answers of 40 these are; the first ones are right."""

    def one(suite: str, right: int) -> Score:
        rows = [row < right for row in range(40)]
        exact = ExactMatch(right, 0, 40 - right)
        return Score(suite, loss, 80, exact, [loss] * 40, rows)

    return BlendPoint(alpha, (one("task", task), one("general", general)))


def test_the_chosen_blend_has_most_right_answers_of_both_kinds() -> None:
    curve = [scored(0, 0, 40), scored(0.5, 20, 38), scored(0.8, 38, 36), scored(1, 40, 10)]
    alpha, reason = choose(curve)
    assert alpha == 0.8
    assert reason == "task 38 of 40 right for 40, general 36 of 40 right for 10 against α = 1"


def test_a_blend_that_is_worse_on_the_task_beyond_the_noise_is_not_chosen() -> None:
    curve = [scored(0, 0, 40), scored(0.5, 30, 40), scored(1, 40, 20)]
    assert choose(curve)[0] == 1.0
    assert choose(curve)[1].startswith("no smaller α is as good")


def test_where_no_answers_are_counted_the_gain_on_the_task_must_stay() -> None:
    def point(alpha: float, task: float, general: float) -> BlendPoint:
        return BlendPoint(alpha, (Score("task", task, 9), Score("general", general, 9)))

    curve = [point(0, 5, 1), point(0.5, 2, 1.1), point(0.9, 1.1, 1.2), point(1, 1, 2)]
    assert choose(curve)[0] == 0.9
    with pytest.raises(CheckpointError, match="no held-out examples of its task: give --alpha"):
        choose([BlendPoint(0, ()), BlendPoint(1, ())])
    alone = [replace(each, scores=each.scores[:1]) for each in curve]
    assert choose(alone)[1].startswith("the run has no general set")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"points": 1}, "--points 1 is out of bounds: give a number from 2 to 101"),
        ({"alpha": 1.5}, r"--alpha 1.5 is out of bounds: give a number from 0"),
        ({"alpha": float("nan")}, "--alpha nan is out of bounds"),
        ({"out": Path("/")}, "--out / exists already"),
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        BlendOptions(**options).check()


def test_another_model_where_the_run_began_is_refused(once_finished: Path, tmp_path: Path) -> None:
    import tiny_llama

    run = Path(shutil.copytree(once_finished, tmp_path / "run"))
    settings = json.loads((run / "config.json").read_text())
    other = tiny_llama.directory(tmp_path / "other", num_hidden_layers=3)
    (run / "config.json").write_text(json.dumps(settings | {"model": str(other)}))
    with pytest.raises(CheckpointError, match="have other parameters"):
        blend(run, BlendOptions(), CPU)
    assert not (run / "blend").exists()


def test_a_disk_that_is_full_leaves_no_half_of_a_model(
    once_finished: Path, tmp_path: Path, full_disk: int
) -> None:
    del full_disk
    with pytest.raises(SystemFailure):
        blend(once_finished, BlendOptions(points=2, alpha=0.5, out=tmp_path / "out"), CPU)
    assert not list(tmp_path.iterdir())

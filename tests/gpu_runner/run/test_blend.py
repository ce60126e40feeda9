"""A run's model blended with the one before, scored on the run's own sets, and written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from gpu_runner.config.schema import TrainConfig
from gpu_runner.errors import CheckpointError, ExitCode, SystemFailure, UsageError
from gpu_runner.log.runs import describe
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.run.blend import (
    Blend,
    BlendOptions,
    BlendPoint,
    blend,
    choose,
)
from gpu_runner.run.export_model import export_model
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.run_models import steps_on_disk
from gpu_runner.train.evaluate import Score, change_of, rows_of
from resumed_runs import elsewhere, the_run
from run_process import events
from unfrozen.held_out import ExactMatch
from unfrozen.schema import LogOrder, read_line

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def finished(once_finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: its log is written to."""
    place = tmp_path_factory.mktemp("finished") / once_finished.name
    return Path(shutil.copytree(once_finished, place))


@pytest.fixture(scope="module")
def blended(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Blend:
    out = tmp_path_factory.mktemp("blended") / "model"
    return blend(finished, BlendOptions(points=3, alpha=0.25, out=out), CPU)


def losses(point: BlendPoint) -> dict[str, float]:
    return {one.suite: one.loss for one in point.scores}


def kls(point: BlendPoint) -> dict[str, float | None]:
    return {one.suite: one.kl for one in point.scores}


def test_the_kl_from_the_model_before_grows_with_alpha(blended: Blend) -> None:
    first, *_, last = found = [kls(point)["task"] for point in blended.curve]
    assert first == 0
    assert sorted(found) == found
    assert last > 0.01
    card = (blended.model / "README.md").read_text()
    assert not [one for one in blended.curve[1].scores if f" | {one.kl:.3f} |" not in card]


def test_the_trained_model_is_scored_by_the_run_and_need_not_be_again(
    blended: Blend, finished: Path, tmp_path: Path
) -> None:
    """Without a checkpoint, which knows the rows, it is scored anew: to the same numbers."""
    assert [point.alpha for point in blended.curve] == [0.0, 0.25, 0.5, 1.0]
    asked: list[str] = []
    options = BlendOptions(points=2, alpha=1, out=tmp_path / "known")
    known = blend(finished, options, CPU, report=asked.append)
    assert asked == ["α = 0.00"]
    run = Path(shutil.copytree(finished, tmp_path / finished.name))
    shutil.rmtree(run / "checkpoints")
    again = blend(run, replace(options, out=tmp_path / "again"), CPU, report=asked.append)
    assert asked == ["α = 0.00", "α = 0.00", "α = 1.00"]
    for one, other in zip(known.curve, again.curve, strict=True):
        assert losses(one) == pytest.approx(losses(other), rel=1e-5)
        assert [s.exact for s in one.scores] == [s.exact for s in other.scores]
        assert kls(one) == pytest.approx(kls(other), rel=1e-3, abs=1e-6)
        for suite in ("task", "general"):
            rounded = pytest.approx(rows_of(other.scores, suite), abs=1e-4)  # in the log
            assert rows_of(one.scores, suite) == rounded


def test_of_other_held_out_rows_nothing_is_taken_from_the_log(
    finished: Path, tmp_path: Path, cats_file: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / finished.name))
    fewer = tmp_path / "cats.jsonl"
    fewer.write_text("".join(cats_file.read_text().splitlines(keepends=True)[1:]))
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(settings | {"general": [["cats", str(fewer)]]}))
    asked: list[str] = []
    blend(run, BlendOptions(points=2, alpha=1), CPU, report=asked.append)
    assert asked == ["α = 0.00", "α = 1.00"]


def test_the_curve_is_in_the_log_of_the_run_which_is_as_finished_as_before(
    finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / finished.name))
    before = describe(run.name, run / "events.jsonl", 0.0)
    found = blend(run, BlendOptions(points=5), CPU)
    assert found.unlogged == ""
    (event,) = [each for each in events(run) if each["kind"] == "blend"][-1:]
    told = [{"alpha": p["alpha"], "sets": p["sets"]} for p in event["points"] if "name" not in p]
    made = found.as_json()["curve"]
    assert told == [
        {"alpha": p["alpha"], "sets": {k: p["sets"][k] for k in ("task", "general")}} for p in made
    ]
    assert [p["name"] for p in event["points"] if "name" in p] == []
    assert (event["att"], event["chosen"], event["step"]) == (0, found.alpha, 6)
    after = describe(run.name, run / "events.jsonl", 0.0)
    assert before is not None
    assert after is not None
    assert (after.status, after.task) == ("finished", before.task)
    order = LogOrder()
    verdicts = map(read_line, (run / "events.jsonl").read_bytes().splitlines())
    assert {verdict.problem or order.accept(verdict.value) for verdict in verdicts} == {""}


def test_while_the_log_is_written_the_curve_is_printed_alone(
    finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / finished.name))
    logged = (run / "events.jsonl").read_bytes()
    with EventLog(run / "events.jsonl", run=run.name, clock=SystemClock(), attempt=1):
        found = blend(run, BlendOptions(points=2, alpha=1, out=tmp_path / "out"), CPU)
    assert "is being written by another process" in found.sentences()
    assert (run / "events.jsonl").read_bytes() == logged


def test_the_model_is_the_blend_and_transformers_loads_it(
    blended: Blend, finished: Path, model_dir: Path
) -> None:
    assert blended.model is not None
    before, after, mixed = (
        load_file(place / "model.safetensors")
        for place in (model_dir, finished / "model", blended.model)
    )
    for name, tensor in mixed.items():
        assert torch.equal(tensor, torch.lerp(before[name], after[name], 0.25))
    AutoTokenizer.from_pretrained(blended.model)
    AutoModelForCausalLM.from_pretrained(blended.model)
    data = json.loads(json.dumps(blended.as_json()))
    assert {"curve", "alpha", "model"} < set(data)
    assert {"loss", "kl", "exact", "of", "change"} == set(data["curve"][0]["sets"]["task"])


def weights(place: Path) -> dict[str, torch.Tensor]:
    return load_file(place / "model.safetensors")


def test_the_last_checkpoints_are_averaged(shared_config: TrainConfig, tmp_path: Path) -> None:
    config = replace(elsewhere(shared_config, "averaged"), save_every=2, keep_last=3)
    assert fine_tune(config, Console(quiet=True)) == ExitCode.OK
    run = the_run(config)
    assert steps_on_disk(run) == [2, 4, 6]
    found = blend(run, BlendOptions(points=2, alpha=1, out=tmp_path / "out", last=3), CPU)
    assert found.averaged == (2, 4, 6)
    assert found.model is not None
    saved = [weights(run / "checkpoints" / f"step-00000{step}") for step in (2, 4)]
    saved.append(weights(run / "model"))
    for name, tensor in weights(found.model).items():
        mean = sum(one[name].double() for one in saved) / 3
        assert torch.equal(tensor, mean.float())
    with pytest.raises(UsageError, match=r"--last 4: \S+ has 3 checkpoints, of steps 2, 4, 6"):
        blend(run, BlendOptions(last=4), CPU, report=pytest.fail)


@pytest.fixture(scope="module")
def averaged(shared_config: TrainConfig) -> Path:
    """A run with a moving average of its weights."""
    config = elsewhere(shared_config, "ema", ema=0.5)
    assert fine_tune(config, Console(quiet=True)) == ExitCode.OK
    return the_run(config)


def test_the_moving_average_is_scored_beside_the_weights_and_blended(
    averaged: Path, tmp_path: Path
) -> None:
    logged = [event["m"] for event in events(averaged) if event["kind"] == "metrics"]
    (scored,) = [m for m in logged[-3:] if "eval/ema_task_loss" in m]
    found = blend(averaged, BlendOptions(points=2, ema=True, alpha=1.0, out=tmp_path / "x"), CPU)
    assert losses(found.curve[-1])["task"] == pytest.approx(scored["eval/ema_task_loss"], rel=1e-5)
    assert scored["eval/ema_task_loss"] != scored["eval/task_loss"]
    assert 0 < scored["eval/ema_task_kl"] != scored["eval/task_kl"]
    assert kls(found.curve[-1])["task"] == pytest.approx(scored["eval/ema_task_kl"], rel=1e-4)
    assert "θ* is the moving average of the weights." in found.sentences()
    newest = averaged / "checkpoints" / "step-000006" / "optimizer.safetensors"
    kept = load_file(newest)
    assert all(torch.equal(kept[f"ema.{n}"], w) for n, w in weights(tmp_path / "x").items())
    saved = export_model(averaged, tmp_path / "hf", ema=True).saved
    assert all(torch.equal(kept[f"ema.{n}"], w) for n, w in weights(saved.path).items())


def test_a_run_without_a_moving_average_is_refused(once_finished: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"has no moving average .* train with --set ema=0\.999"
    ):
        blend(once_finished, BlendOptions(ema=True), CPU)


def scored(alpha: float, task: int, general: int, loss: float = 1.0) -> BlendPoint:
    """A point whose right answers of 40 these are; the first ones are right."""

    def one(suite: str, right: int) -> Score:
        rows = [row < right for row in range(40)]
        exact = ExactMatch(right, 0, 40 - right)
        return Score(suite, loss, 80, exact, [loss] * 40, rows, examples=suite)

    return BlendPoint(alpha, (one("task", task), one("general", general)))


def test_the_chosen_blend_has_most_right_answers_of_both_kinds() -> None:
    curve = [scored(0, 0, 40), scored(0.5, 20, 38), scored(0.8, 38, 36), scored(1, 40, 10)]
    alpha, reason = choose(curve, curve[-1])
    assert alpha == 0.8
    assert reason == (
        "task 38 of 40 right instead of 40, a change in share of −0.050 (−0.165 to +0.042);"
        " general 36 of 40 right instead of 10, a change in share of +0.650 (+0.495 to +0.779)"
        " against the trained model"
    )


def test_of_a_gain_within_the_noise_no_blend_is_chosen() -> None:
    """As many right answers at a lower loss win nothing back, nor do five more of forty."""
    for general in (30, 35):
        curve = [scored(0, 0, 40, 9.0), scored(0.9, 40, general, 0.5), scored(1, 40, 30)]
        alpha, reason = choose(curve, curve[-1])
        assert alpha is None
        assert reason.startswith(
            "none as good on the task is better on what the model knew beyond the noise of its"
            f" examples (α = 0.9 has general {general} of 40 right"
        )
        assert reason.endswith("; --alpha writes one anyway")
    curve = [scored(0, 0, 40, 9.0), scored(0.9, 39, 36, 0.5), scored(1, 40, 30)]
    alpha, reason = choose(curve, curve[-1])
    assert alpha == 0.9
    assert reason.startswith("task 39 of 40 right instead of 40, a change in share of −0.025 (−0.")


def test_the_change_of_all_general_sets_is_that_of_their_answers() -> None:
    """Losses of a set without answers do not count among shares of right ones."""
    text = Score("general/text", 2.0, 9, None, [2.0] * 3, examples="text")
    sums = Score("general/sums", 1.0, 9, None, [1.0] * 4, [True] * 4, examples="sums")
    fewer = replace(sums, row_right=[True, False, False, False])
    before, after = ((text, one, Score("general", 1.5, 18)) for one in (sums, fewer))
    moved = change_of(before, after, "general")
    assert moved is not None
    assert moved.mean == -0.75
    for other in ("others", ""):  # an older log does not tell
        assert change_of(before, (text, replace(fewer, examples=other)), "general") is None


def test_a_blend_that_is_worse_on_the_task_beyond_the_noise_is_not_chosen() -> None:
    curve = [scored(0, 0, 40), scored(0.5, 30, 40), scored(1, 40, 20)]
    alpha, reason = choose(curve, curve[-1])
    assert alpha is None
    assert "(α = 1 has general 20 of 40 right in both" in reason


def test_where_nothing_keeps_the_task_no_blend_is_chosen() -> None:
    """As when θ* was averaged: the trained model is no point of the curve."""
    alpha, reason = choose([scored(0, 0, 40), scored(1, 20, 40)], scored(1, 40, 20))
    assert alpha is None
    assert reason.startswith("none is as good on the task as the trained model")


def test_where_no_answers_are_counted_the_gain_on_the_task_must_stay() -> None:
    def point(alpha: float, task: float, general: float) -> BlendPoint:
        rows = [general + row / 8 for row in range(8)]
        know = Score("general", general, 9, None, rows, examples="general")
        return BlendPoint(alpha, (Score("task", task, 9), know))

    curve = [point(0, 5, 1), point(0.5, 2, 1.1), point(0.9, 1.1, 1.2), point(1, 1, 2)]
    assert choose(curve, curve[-1])[0] == 0.9
    with pytest.raises(CheckpointError, match="no held-out examples of its task: give --alpha"):
        choose([BlendPoint(0, ()), BlendPoint(1, ())], BlendPoint(1, ()))
    alone = [replace(each, scores=each.scores[:1]) for each in curve]
    assert choose(alone, alone[-1])[1].startswith("the run has no general set")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"points": 1}, "--points 1 is out of bounds: give a number from 2 to 101"),
        ({"alpha": 1.5}, r"--alpha 1.5 is out of bounds: give a number from 0"),
        ({"alpha": float("nan")}, "--alpha nan is out of bounds"),
        ({"out": Path("/")}, "--out / exists already"),
        ({"last": 1}, "--last 1 is out of bounds: give 2 checkpoints or more"),
        ({"last": 2, "step": 3}, "--last takes the newest checkpoints: leave out --step"),
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        BlendOptions(**options).check()


def test_another_model_where_the_run_began_is_refused(finished: Path, tmp_path: Path) -> None:
    import tiny_llama

    run = Path(shutil.copytree(finished, tmp_path / "run"))
    settings = json.loads((run / "config.json").read_text())
    other = tiny_llama.directory(tmp_path / "other", num_hidden_layers=3)
    (run / "config.json").write_text(json.dumps(settings | {"model": str(other)}))
    with pytest.raises(CheckpointError, match="other weights than those with which run began"):
        blend(run, BlendOptions(), CPU)
    shutil.rmtree(run / "checkpoints")  # which told
    with pytest.raises(CheckpointError, match="have other parameters"):
        blend(run, BlendOptions(), CPU)
    assert not (run / "blend").exists()


def test_a_disk_that_is_full_leaves_no_half_of_a_model(
    finished: Path, tmp_path: Path, full_disk: int
) -> None:
    del full_disk
    with pytest.raises(SystemFailure):
        blend(finished, BlendOptions(points=2, alpha=0.5, out=tmp_path / "out"), CPU)
    assert not list(tmp_path.iterdir())

"""The logs of runs that go wrong show what the chapter says, and its settings are typed so."""

import ast
import importlib.util
import re
from pathlib import Path

from gpu_runner.config.schema import TrainConfig
from record_symptoms import POINTS, SERIES, SPEEDS, series
from site_builder.diagrams.symptoms import panels
from site_builder.markdown import slug
from site_builder.measurements import losses, read_json

CHAPTER = Path(__file__).parents[2] / "web" / "article" / "08-when-a-run-goes-wrong.md"
FOUND = read_json("symptoms.json")
LOSSES = {name: [y for _, y in run["points"]] for name, run in FOUND["loss"].items()}


def test_each_symptom_leads_to_its_section_in_their_order() -> None:
    titles = re.findall(r"^## (.*)$", CHAPTER.read_text(encoding="utf-8"), re.MULTILINE)
    assert [panel["title"] for panel in panels()] == titles[:6]
    assert [panel["anchor"] for panel in panels()] == [slug(title) for title in titles[:6]]


def test_the_recorded_runs_are_those_of_the_command() -> None:
    arguments = {name: run["arguments"] for name, run in FOUND["loss"].items()}
    assert arguments == {name: " ".join(more) for name, more in SERIES.items()}
    assert list(FOUND["tokens_per_second"]) == list(SPEEDS)
    assert not [run for run in FOUND["loss"].values() if not len(run["points"]) <= POINTS]


def test_a_series_keeps_its_first_and_last_step() -> None:
    log = [{"step": step, "m": {"train/loss": 1 / step}} for step in range(1, 201)]
    kept = series([*log, {"kind": "beat"}], "train/loss")
    assert kept[0] == [1, 1.0]
    assert kept[-1] == [200, 0.005]
    assert len(kept) <= POINTS


def test_one_run_stays_flat_one_leaps_and_one_forgets() -> None:
    usual, flat = LOSSES["usual"], LOSSES["flat"]
    assert usual[-1] < usual[0] / 10
    assert flat[-1] > 0.9 * flat[0]
    finite = [loss for loss in LOSSES["leaping"] if loss is not None]
    assert max(finite) > 3 * usual[0]
    (task_before, task), (before, after) = losses("demo", "task"), losses("demo", "general")
    assert task < task_before / 10
    assert after > 2 * before


def test_without_the_end_in_the_loss_right_answers_do_not_stop() -> None:
    usual, endless = (FOUND["stops"][name]["exact"] for name in ("usual", "endless"))
    assert usual["right"] > 0.8 * usual["of"]
    assert endless["right"] == 0
    assert endless["does_not_stop"] > 0.8 * endless["of"]


def test_one_row_at_a_time_is_slow_and_recomputation_costs_time() -> None:
    at_once, recomputed, one_by_one = FOUND["tokens_per_second"].values()
    assert one_by_one < at_once / 2
    assert recomputed < at_once


def fields(module: str) -> set[str]:
    """The annotated names of every class of a module that is installed, without importing it."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = (node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign))
    return {target.id for target in named if isinstance(target, ast.Name)}


def test_every_setting_is_one_of_the_runner_of_trainer_or_of_trl() -> None:
    marked = set(re.findall(r"`([^`\n]+)`", CHAPTER.read_text(encoding="utf-8")))
    options = {text.split()[0] for text in marked if text.startswith("--")}
    own = {f"--{name.replace('_', '-')}" for name in TrainConfig.__dataclass_fields__}
    assert options <= own
    theirs = fields("transformers.training_args") | fields("trl.trainer.sft_config")
    named = {text for text in marked if re.fullmatch(r"[a-z]+(_[a-z]+)+|bf16|packing", text)}
    elsewhere = {"requires_grad", "interleave_datasets", "eval_dataset", "pad_token"}
    assert named - elsewhere <= theirs

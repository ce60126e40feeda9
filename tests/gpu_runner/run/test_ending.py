"""What is said at the end of a run: of steps that did better, and of how to go on."""

from pathlib import Path

from gpu_runner.checkpoint.history import History
from gpu_runner.config.resolve import resolve
from gpu_runner.plan import plan
from gpu_runner.run.checkpointer import Standing
from gpu_runner.run.ending import End, summary_of
from gpu_runner.train.loop import State


def test_a_better_step_is_named_also_where_its_checkpoint_was_being_replaced(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    planned = plan.make(resolve({"model": str(model_dir), "data": str(sums_file), "steps": 2}))
    kept = tmp_path / "checkpoints" / "step-1000000.old"
    end = End("finished", "done", model=tmp_path / "model", better=[Standing(kept, 0.5, True)])
    said = summary_of(end, planned, tmp_path, State(), History()).next_steps
    assert f"Step 1000000 did better on the task (loss 0.500): its weights are in {kept}." in said

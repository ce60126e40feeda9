import json
import math
from dataclasses import fields

import pytest

from gpu_runner.checkpoint.training_state import History
from gpu_runner.train.loop import State
from unfrozen.held_out import ExactMatch
from unfrozen.schema.files import STATE


def test_the_best_evaluation_is_the_first_of_the_lowest_task_loss() -> None:
    history = History()
    losses = [3.0, 2.0, 2.0, 2.5, 1.0]
    found = [history.add_evaluation(10 * i, {"task": loss}, None) for i, loss in enumerate(losses)]
    assert found == [True, True, False, False, True]
    assert (history.best_step, history.best_loss, history.looks_since_best) == (40, 1.0, 0)
    assert history.first == {"task": 3.0}
    assert history.latest == {"task": 1.0}


def test_a_loss_that_is_no_number_is_never_the_best() -> None:
    history = History()
    assert not history.add_evaluation(0, {"task": math.nan}, None)
    assert history.add_evaluation(1, {"task": 5.0}, None)
    assert not history.add_evaluation(2, {"task": math.inf}, None)
    assert history.looks_since_best == 1


def test_a_history_survives_a_checkpoint() -> None:
    history = History()
    answers = {"task": ExactMatch(1, 2, 3)}
    history.add_evaluation(0, {"task": 3.0, "general": 1.0}, None, exact=answers)
    assert history.first_exact == {"task": [1, 2, 3]}
    assert history.first_losses("task", [3.0, 2.0]) == [3.0, 2.0]
    assert history.first_losses("task", [1.0, 1.0]) == [3.0, 2.0]
    assert History(**json.loads(json.dumps(history.as_json()))) == history


def test_a_set_that_was_exchanged_begins_anew_and_others_go_on() -> None:
    history, answers = History(), [ExactMatch(right, 0, 8 - right) for right in range(4)]
    history.add_evaluation(0, {"task": 3.0, "general": 1.0}, None, exact={"task": answers[0]})
    history.add_evaluation(5, {"task": 2.0, "general": 1.5}, None, exact={"task": answers[1]})
    history.first_losses("task", [3.0])
    history.forget({"task"})
    assert history.first_losses("task", [9.0]) == [9.0]
    assert (history.first, history.best_loss) == ({"general": 1.0}, None)
    scored = {"task": answers[2], "general": answers[3]}
    assert history.add_evaluation(10, {"task": 9.0, "general": 1.6}, None, exact=scored)
    assert history.first == {"task": 9.0, "general": 1.0}
    assert history.first_exact == {"task": list(answers[2])}  # nobody counted general at step 0
    assert (history.best_step, history.best_loss) == (10, 9.0)


@pytest.mark.parametrize(("part", "kept"), [("history", History), ("state", State)])
def test_every_field_of_a_checkpoint_is_read_again(part: str, kept: type) -> None:
    """One that the schema does not know would be left out, and begin anew at each resume."""
    assert STATE["properties"][part]["properties"].keys() == {one.name for one in fields(kept)}

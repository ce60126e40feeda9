"""How a run stands, in the sentences above its numbers."""

from typing import Any

from run.javascript import JavaScript
from unfrozen.held_out import paired_difference


def evaluations(
    losses: list[float], *, rows: bool = True, noise: float = 0.01, **exact: list[int]
) -> list[dict[str, Any]]:
    """Evaluations of a set; each example lies near the loss, by a noise of its own each time."""
    found = []
    for index, loss in enumerate(losses):
        more: dict[str, Any] = {"loss": loss, "delta": loss - losses[0], "baseline": losses[0]}
        if rows:
            rows = [
                [one + noise * ((7 * n + 3 * turn) % 5 - 2) for n in range(20)]
                for turn, one in enumerate(losses[: index + 1])
            ]
            change = paired_difference(rows[0], rows[-1])
            assert change
            more |= {"row_losses": rows[-1], "change": [change.low, change.high]}
        if exact:
            right, endless = exact["right"][index], exact.get("endless", [0] * 9)[index]
            counts = {"right": right, "does_not_stop": endless, "of": 64}
            more["exact"] = counts | {"wrong": 64 - right - endless}
        found.append(more)
    return found


def standing(js: JavaScript, goes_on: bool = False, **suites: list[dict[str, Any]]) -> str:
    """The sentences on a run whose sets were evaluated every 10 steps."""
    events: list[dict[str, Any]] = [{"kind": "run.start", "step": 0, "plan": {"steps": 200}}]
    for turn in range(len(suites["task"])):
        for name, scores in suites.items():
            suite = name.replace("_", "/")
            events.append({"kind": "eval", "step": 10 * turn, "suite": suite, **scores[turn]})
    head = {"v": 1, "run": "r", "att": 0}
    lines = [{**head, "seq": seq, "t": 100.0 + seq, **one} for seq, one in enumerate(events)]
    found: str = js(
        "return standingText(folded(input.events), input.goesOn);",
        {
            "events": lines,
            "goesOn": goes_on,
        },
    )
    return found


def test_what_was_learned_is_said_with_the_step_that_had_most_of_it(js: JavaScript) -> None:
    text = standing(js, task=evaluations([5.0, 1.0, 0.3, 0.2], right=[0, 30, 60, 62]))
    assert text == "Learned 4.800 nats of the task, 90% of it by step 20, 62 of 64 answers right."
    text = standing(js, task=evaluations([5.0, 4.0, 3.0, 2.0]))
    assert text == "Learned 3.000 nats of the task, and still falling."


def test_a_change_inside_the_noise_is_not_called_one(js: JavaScript) -> None:
    noisy = evaluations([5.0, 5.01], noise=0.2)
    assert standing(js, task=noisy).startswith("No change on the task that its held-out examples")
    kept = standing(js, task=evaluations([5.0, 1.0]), general=noisy, general_a=noisy)
    assert "What it knew before has not changed as far as its examples show" in kept


def test_answers_that_are_lost_where_the_loss_is_not_are_said(js: JavaScript) -> None:
    task = evaluations([5.0, 1.0])
    same = evaluations([0.24, 0.243], noise=0.2, right=[50, 0], endless=[0, 8])
    text = standing(js, task=task, general=same, general_a=same)
    assert "has not changed (+0.003 nats), but only 0 of 64 answers are right; 50 were" in text
    assert "of 50 lost answers, 8 are right but do not stop." in text
    better = evaluations([0.5, 0.3], right=[50, 20])
    text = standing(js, task=task, general=better, general_a=better)
    assert "before fell by 0.200 nats, but only 20 of 64 answers are right; 50 were." in text


def test_what_was_lost_is_said_with_where_and_how_much_only_does_not_stop(js: JavaScript) -> None:
    text = standing(
        js,
        task=evaluations([5.0, 1.0]),
        general=evaluations([0.1, 0.6], right=[60, 40], endless=[0, 14]),
        general_addition=evaluations([0.1, 1.0]),
        general_capitals=evaluations([0.1, 0.2]),
    )
    assert "Lost 0.500 nats of what it knew, most in addition (+0.900)" in text
    assert text.endswith("; of 20 lost answers, 14 are right but do not stop.")


def test_an_earlier_step_that_kept_more_is_named(js: JavaScript) -> None:
    text = standing(
        js,
        task=evaluations([5.0, 0.5, 0.2], right=[0, 60, 64]),
        general=evaluations([0.1, 0.2, 0.9], right=[64, 60, 30]),
    )
    assert text.endswith("Step 10 had learned 93.8% of it and kept 30 more of 64 answers.")
    task = evaluations([5.0, 0.5, 0.2], right=[0, 64, 64])
    for kept, is_said in ((35, False), (36, True)):  # of 64, 30 at the end: five may be chance
        general = evaluations([0.1, 0.2, 0.9], right=[64, kept, 30])
        assert ("kept" in standing(js, task=task, general=general)) == is_said


def test_a_run_that_goes_on_says_where_it_is(js: JavaScript) -> None:
    text = standing(js, goes_on=True, task=evaluations([5.0, 1.0]))
    assert "Step 10 of 200" in text
    assert standing(js, task=evaluations([5.0])) == ""


def test_a_task_that_got_worse_is_said_to(js: JavaScript) -> None:
    text = standing(js, task=evaluations([1.0, 3.0]))
    assert text.startswith("The task got worse, by 2.000 nats")

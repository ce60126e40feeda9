"""What several runs have in common and where they differ, by the script of the page."""

from typing import Any

from run.javascript import JavaScript
from unfrozen.held_out import paired_differences


def runs(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"runs": [{"start": {"config": change, "model": {}}} for change in changes]}


DIFFER = "return differingSettings(input.runs);"


def test_only_settings_that_differ_are_listed(js: JavaScript) -> None:
    one = {"lr": 1e-3, "seed": 7, "runs": "/a", "replay": None}
    other = {"lr": 1e-4, "seed": 7, "runs": "/b", "replay": "own"}
    assert js(DIFFER, runs(one, other)) == [
        ["lr", "0.001", "0.0001"],
        ["replay", "none", "own"],
    ]
    assert js(DIFFER, runs(one, one)) == []


def test_a_setting_that_a_log_does_not_name_is_no_difference(js: JavaScript) -> None:
    assert js(DIFFER, runs({"lr": 1, "ewc": 0}, {"lr": 1})) == []
    found = js(DIFFER, runs({"ewc": 0}, {}, {"ewc": 2}))
    assert found == [["ewc", "0", None, "2"]]


def test_runs_without_settings_of_a_trainer_are_compared_by_those_of_the_planner(
    js: JavaScript,
) -> None:
    given = [{"start": {"config": None, "recipe": {"lr": rate}, "model": {}}} for rate in (1, 2)]
    assert js(DIFFER, {"runs": given}) == [["lr", "1", "2"]]


AXIS = "return axisOf(input.run, input.axis)(input.steps);"


def test_steps_become_tokens_and_seconds(js: JavaScript) -> None:
    tokens, seconds = ({"x": [1, 2, 4], "y": y} for y in ([10, 20, 40], [0.5, 0.75, 1.75]))
    given = {"run": {"series": {"train/tokens": tokens}, "clock": seconds}, "steps": [0, 1, 3, 4]}
    assert js(AXIS, given | {"axis": "tokens"}) == [0, 10, 20, 40]
    assert js(AXIS, given | {"axis": "seconds"}) == [0, 0.5, 0.75, 1.75]
    assert js(AXIS, given | {"axis": "step"}) == [0, 1, 3, 4]


def test_the_frontier_is_what_no_other_point_beats(js: JavaScript) -> None:
    points = [(0.0, 1.0), (0.5, 0.9), (0.4, 0.8), (0.9, 0.5), (0.9, 0.4), (1.0, 0.1)]
    given = [{"task": task, "general": general} for task, general in points]
    found = js("return frontier(input.points);", {"points": given})
    assert [(one["task"], one["general"]) for one in found] == [
        (0.0, 1.0),
        (0.5, 0.9),
        (0.9, 0.5),
        (1.0, 0.1),
    ]


PAIRED = "return pairedLosses(input.one, input.other, input.suite);"


def scored(**suites: list[float]) -> dict[str, Any]:
    evals: dict[str, Any] = {
        name.replace("_", "/"): {"x": [1], "rows": [rows], "examples": f"a set of {name}"}
        for name, rows in suites.items()
    }
    if any(name.startswith("general/") for name in evals):
        evals["general"] = {"x": [1], "examples": "all skills"}
    return {"evals": evals}


def test_the_general_set_is_all_rows_of_its_skills(js: JavaScript) -> None:
    one = scored(general_a=[1.0, 2.0], general_b=[3.0])
    other = scored(general_b=[3.5], general_a=[1.5, 2.5])
    found = js(PAIRED, {"one": one, "other": other, "suite": "general"})
    assert found == [[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]]


def test_rows_that_are_not_logged_or_not_the_same_have_no_difference(js: JavaScript) -> None:
    one, other, none = scored(task=[1.0]), scored(task=[1.0, 2.0]), {"evals": {}}
    for pair in ((one, other), (one, none), (none, none)):
        given = {"one": pair[0], "other": pair[1], "suite": "task"}
        assert js(PAIRED, given) is None
    diverged = f"input.other.evals.task.rows[0][0] = NaN; {PAIRED}"
    assert js(diverged, {"one": one, "other": one, "suite": "task"}) is None


def of_examples(*fingerprints: str) -> list[dict[str, Any]]:
    runs = [scored(task=[1.0, 2.0], general_a=[3.0, 4.0]) for _ in fingerprints]
    for run, fingerprint in zip(runs, fingerprints, strict=True):
        run["evals"]["task"]["examples"] = fingerprint
    return runs


def test_as_many_rows_of_other_examples_have_no_difference_and_that_is_said(
    js: JavaScript,
) -> None:
    warn = "return examplesWarning(input);"
    for fingerprints, says in (
        (("a", "b", "a"), "The held-out examples of the task are not the same in these runs:"),
        (("a", "", "a"), "The held-out examples of the task may differ between these runs: not"),
    ):
        one, other, same = runs = of_examples(*fingerprints)
        given = {"one": one, "other": other, "suite": "task"}
        assert js(PAIRED, given) is None
        assert js(PAIRED, given | {"other": same}) == [[1.0, 2.0], [1.0, 2.0]]
        assert js(PAIRED, given | {"suite": "general"}) == [[3.0, 4.0], [3.0, 4.0]]
        assert js(warn, runs).startswith(says)
        assert js(warn, [one, same]) == ""
    assert js(warn, [*of_examples("a"), {"evals": {}}]) == ""
    compared = [{"run": run, "number": n} for n, run in enumerate(of_examples("a", "b"), 1)]
    losses = js("return comparedLosses(input, 1).map(({ losses }) => losses);", compared)
    found = {"runs": compared, "intervals": paired_differences(losses)}
    shown = js("return toHtml(differencesView(input.runs, 1, input.intervals));", found)
    assert "of the task are not the same in these runs" in shown
    assert "Run 2 and run 1 on the task" not in shown
    assert "Run 2 and run 1 on what it knew before: no difference that 2 examples" in shown
    without = js("return toHtml(differencesView(input.runs, 1, null));", found)
    assert "Python could not compute the intervals." in without


def test_losses_that_were_not_taken_alike_are_told_apart(js: JavaScript) -> None:
    ours, theirs = (
        {"start": {"meanings": {}}},
        {"start": {"meanings": {"eval": "a mean of rows"}}},
    )
    warn = "return meaningWarning(input);"
    assert js(warn, [ours, ours]) == ""
    assert js(warn, [ours, theirs]) == (
        "Their losses are not comparable: 1 is a mean over tokens; 2 is a mean of rows."
    )

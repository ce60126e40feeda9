"""The page's trainer and a worker that dies, hangs, or never comes: told, ended, and replaced."""

from __future__ import annotations

import pytest

from run.javascript import JavaScript
from run.wire import ran

DEATHS = {
    "deaf to Stop": "trainer.stop();",
    "silent": "",
    "crashed": 'workers[0].say({ type: "crashed", run: 0, cell: "", reason: "It broke." });',
    "error": 'workers[0].dispatchEvent(Object.assign(new Event("error"), { message: "boom" }));',
}
WORDS = {
    "deaf to Stop": "ended by force",
    "silent": "sent nothing for 60 seconds",
    "crashed": "It broke.",
    "error": "Python stopped: boom",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_that_is_lost_is_reported_its_log_ends_and_another_takes_its_place(
    js: JavaScript, death: str
) -> None:
    found = ran(
        js,
        """
        says = (worker, message) =>
          ["stop", "ask"].includes(message.type) || sound(0)(worker, message);
        const run = trainer.train({});
        const question = trainer.ask("still there?");
        await rest(5);
        """
        + DEATHS[death]
        + """
        const ended = await run;
        const { reason, phase } = trainer.status;
        const [log] = logs();
        says = sound(1);
        const next = await trainer.train({});
        return { ended, reason, phase, log, next, dead: workers[0].dead, asked: await question };
        """,
    )
    assert found["dead"]
    assert (found["ended"]["ok"], found["ended"]["status"], found["phase"]) == (
        False,
        "failed",
        "failed",
    )
    for said in (found["ended"]["problem"], found["reason"], found["asked"]["problem"]):
        assert WORDS[death] in said
    assert found["log"]["over"]
    assert [event["seq"] for event in found["log"]["events"]] == [0, 1, 2]
    end = found["log"]["events"][-1]
    assert (end["kind"], end["status"], end["step"]) == ("run.end", "failed", 1)
    assert found["next"]["ok"]


def test_a_worker_that_is_slow_but_speaks_is_left_alone_and_so_is_one_with_nothing_to_do(
    js: JavaScript,
) -> None:
    found = ran(
        js,
        """
        says = sound(0);
        const run = trainer.train({});
        await rest(5);
        const { run: on } = workers[0].heard.at(-1);
        for (let seq = 2; seq < 6; seq += 1) {
          await rest(35);
          workers[0].say(events(on, line(seq, "beat")));
        }
        workers[0].say(events(on, last(6, "finished")));
        workers[0].say({ type: "ended", run: on });
        const { ok } = await run;
        await rest(150);
        return [ok, trainer.status.phase, workers[0].dead];
        """,
    )
    assert found == [True, "ready", False]


def test_a_browser_without_workers_is_reported_and_nothing_is_thrown(js: JavaScript) -> None:
    found = ran(
        js,
        """
        const Sound = globalThis.Worker;
        globalThis.Worker = class { constructor() { throw new Error("forbidden"); } };
        const refused = await trainer.train({});
        globalThis.Worker = Sound;
        return [refused.problem, (await trainer.train({})).ok];
        """,
    )
    assert found == ["The browser refused to start a worker for Python (forbidden).", True]

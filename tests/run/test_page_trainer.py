"""The page's trainer, run by Node: its worker is a wire here that speaks, dies or falls silent."""

from __future__ import annotations

import pytest

from run.javascript import JavaScript
from run.wire import ran


def test_a_run_is_loaded_begun_followed_and_ended_in_this_order(js: JavaScript) -> None:
    found = ran(
        js,
        """
        const ended = await trainer.train({ lr: 1 });
        const heard = workers[0].heard.map(({ type, choices }) => [type, choices]);
        return { ended, phases, heard, logs: logs() };
        """,
    )
    assert found["phases"] == ["loading", "training", "ready"]
    assert found["heard"] == [["boot", None], ["start", '{"lr":1}']]
    assert found["ended"] == {
        "ok": True,
        "status": "finished",
        "losses": {"task": [9, 1], "general": [0.1, 0.2]},
        "exact": {},
        "problem": "why",
    }
    (log,) = found["logs"]
    assert log["over"]
    assert [event["kind"] for event in log["events"]] == ["run.start", "beat", "run.end"]


def test_what_is_asked_while_python_loads_waits_for_it_in_order(js: JavaScript) -> None:
    found = ran(
        js,
        """
        says = () => {};
        const answers = [trainer.ask("one"), trainer.train({}), trainer.ask("two")];
        await rest(5);
        const early = workers[0].heard.map(({ type }) => type);
        says = sound(1);
        workers[0].say({ type: "ready" });
        await Promise.all(answers);
        return [early, workers[0].heard.map(({ type }) => type)];
        """,
    )
    assert found == [["boot"], ["boot", "ask", "start", "ask"]]


def test_a_refused_run_is_reported_and_leaves_nothing_behind(js: JavaScript) -> None:
    found = ran(
        js,
        """
        says = (worker, message) => {
          if (message.type !== "start") return sound(1)(worker, message);
          const { run } = message;
          worker.say({ type: "began", run, problem: "lr: too high", title: "", command: "" });
          worker.say({ type: "ended", run });
        };
        const refused = await trainer.train({ lr: 99 });
        const listed = pageRuns.all.size;
        says = sound(1);
        const known = [...phases];
        return { refused, listed, known, next: await trainer.train({}), workers: workers.length };
        """,
    )
    assert (found["refused"]["status"], found["refused"]["problem"]) == ("refused", "lr: too high")
    assert found["listed"] == 0
    assert found["known"] == ["loading", "training", "ready"]
    assert found["next"]["ok"]
    assert found["workers"] == 1


def test_a_second_start_while_one_is_on_is_busy_and_changes_nothing(js: JavaScript) -> None:
    found = ran(
        js,
        """
        says = sound(0);
        const first = trainer.train({});
        await rest(5);
        const second = await trainer.train({});
        trainer.stop();
        return [second.status, (await first).status, pageRuns.all.size];
        """,
    )
    assert found == ["busy", "stopped", 1]


@pytest.mark.parametrize("asked", ["train({})", 'ask("what?")'])
def test_stop_while_python_loads_ends_the_loading_and_the_next_one_begins_anew(
    js: JavaScript, asked: str
) -> None:
    found = ran(
        js,
        f"""
        says = () => {{}};
        const waits = trainer.{asked};
        await rest(2);
        trainer.stop();
        const given = await waits;
        const dead = workers[0].dead;
        says = sound(1);
        const next = await trainer.train({{}});
        return {{ given, dead, phases, next, heard: workers[1].heard[0].type }};
        """,
    )
    assert found["dead"]
    assert found["phases"][:2] == ["loading", "idle"]
    assert found["given"].get("status", "stopped") == "stopped"
    assert found["given"].get("problem") in ("", "It was stopped.")
    assert found["next"]["ok"]
    assert found["heard"] == "boot"


def test_a_run_that_is_told_to_stop_says_how_it_ended_and_can_be_asked(js: JavaScript) -> None:
    found = ran(
        js,
        """
        says = sound(0);
        const run = trainer.train({});
        await rest(5);
        trainer.stop();
        trainer.stop();
        const ended = await run;
        const stops = workers[0].heard.filter(({ type }) => type === "stop").length;
        return { ended, stops, phases, said: await trainer.ask("so?"), workers: workers.length };
        """,
    )
    assert (found["ended"]["ok"], found["ended"]["status"]) == (False, "stopped")
    assert found["stops"] == 1
    assert found["phases"][-2:] == ["stopping", "ready"]
    assert found["said"] == {"text": "yes"}
    assert found["workers"] == 1


def test_the_last_words_of_a_stopped_run_do_not_end_up_in_the_next_one(js: JavaScript) -> None:
    found = ran(
        js,
        """
        says = sound(0);
        const first = trainer.train({});
        await rest(2);
        const { run: old } = workers[0].heard.at(-1);
        trainer.stop();
        await first;
        const second = trainer.train({});
        await rest(2);
        workers[0].say(events(old, line(7, "beat")));
        workers[0].say({ type: "ended", run: old });
        const on = trainer.status.phase;
        trainer.stop();
        await second;
        return [on, logs().map(({ events }) => events.map(({ seq }) => seq))];
        """,
    )
    assert found == ["training", [[0, 1, 9], [0, 1, 9]]]


def test_a_message_that_is_out_of_turn_or_of_another_form_is_ignored(js: JavaScript) -> None:
    found = ran(
        js,
        """
        says = sound(0);
        const run = trainer.train({});
        await rest(5);
        const { run: on } = workers[0].heard.at(-1);
        workers[0].say({ type: "ready" });
        workers[0].say({ type: "events", run: on, lines: 7 });
        workers[0].say({ type: "events", run: "another", lines: line(2, "beat") });
        workers[0].say({ type: "began", run: on });
        workers[0].say({ type: "stdout", run: on, text: "hello" });
        workers[0].say(null);
        trainer.stop();
        await run;
        return [phases, logs().map(({ events }) => events.map(({ seq }) => seq))];
        """,
    )
    assert found == [["loading", "training", "stopping", "ready"], [[0, 1, 9]]]


def test_runs_of_two_tabs_that_begin_in_the_same_second_have_names_of_their_own(
    js: JavaScript,
) -> None:
    found = ran(
        js,
        """
        const other = new PageTrainer(new URL("http://here/worker.js"));
        other.load = trainer.load;
        await Promise.all([trainer.train({}), other.train({})]);
        return [...pageRuns.all.keys()];
        """,
    )
    assert len(set(found)) == 2

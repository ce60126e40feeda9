"""Tabs that share connections: each gets every line once, over two connections at most."""

import pytest

from run.javascript import JavaScript
from run.shared_wire import ran

pytestmark = pytest.mark.slow


def test_ten_tabs_read_a_live_run_over_two_connections(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        write("r", 3000);
        for (let n = 0; n < 10; n += 1) {
          openTab().follow("r");
          await rest(n * 3);
          write("r", 20);
        }
        const joined = await until(() => tabs.every((tab) => tab.caughtUp));
        for (let n = 0; n < 20; n += 1) { write("r", 5); await rest(5); }
        const all = await until(() => tabs.every((tab) => whole(tab, 3300)));
        return { joined, all, most: wire.most, held: wire.open,
          writers: [...new Set(tabs.map((tab) => tab.writer))],
          states: tabs.map((tab) => tab.states.join()) };
        """,
    )
    assert answer["joined"]
    assert answer["all"]
    assert answer["most"] <= 2
    assert answer["held"] == 1
    assert answer["writers"] == ["yes"]
    assert set(answer["states"]) == {"connecting,live"}


def test_a_hidden_tab_is_sent_nothing_and_catches_up_when_it_is_seen(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        write("r", 10);
        const [one, two] = [openTab().follow("r"), openTab().follow("r")];
        await until(() => one.caughtUp && two.caughtUp);
        two.hide(true);
        await rest(10);
        write("r", 50);
        await until(() => whole(one, 60));
        const hidden = two.seqs.length;
        two.hide(false);
        const early = two.caughtUp;
        const seen = await until(() => whole(two, 60) && two.caughtUp);
        return { hidden, early, seen, most: wire.most };
        """,
    )
    assert answer == {"hidden": 10, "early": False, "seen": True, "most": 2}


def test_nothing_is_asked_while_every_tab_is_hidden(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        write("r", 10);
        const tab = openTab().follow("r");
        await until(() => tab.caughtUp);
        tab.hide(true);
        await until(() => wire.open === 0);
        const { lists } = wire;
        await rest(1800);
        const quiet = wire.lists === lists && wire.open === 0;
        write("r", 5);
        tab.hide(false);
        return { quiet, seen: await until(() => whole(tab, 15) && tab.caughtUp) };
        """,
    )
    assert answer == {"quiet": True, "seen": True}


def test_a_hub_that_dies_is_replaced_without_loss_or_repetition(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        write("r", 500);
        for (let n = 0; n < 6; n += 1) openTab().follow("r");
        await until(() => tabs.every((tab) => tab.seqs.length > 300));
        for (let death = 0; death < 3; death += 1) {
          const old = hubLock;
          for (const tab of tabs) tab.ports[1].close();
          hubLock = newHub();
          dies(old).resolve();
          write("r", 100);
          await rest(150);
        }
        return await until(() => tabs.every((tab) => whole(tab, 800) && tab.caughtUp));
        """,
    )
    assert answer


def test_a_tab_that_dies_is_forgotten(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        write("r", 10);
        const tab = openTab().follow("r");
        await until(() => tab.caughtUp);
        const held = wire.open;
        dies(tab.lock).resolve();
        return { held, closed: await until(() => wire.open === 0) };
        """,
    )
    assert answer == {"held": 1, "closed": True}


def test_a_tab_that_takes_nothing_holds_up_nobody_and_gets_no_more_than_a_window(
    js: JavaScript,
) -> None:
    answer = ran(
        js,
        """
        const one = openTab().follow("r");
        write("r", 1);
        const stuck = openTab();
        let sent = 0;
        const { port1, port2 } = new MessageChannel();
        hub.connect(port2);
        port1.onmessage = ({ data }) => { if (data.type === "lines") sent += data.text.length; };
        port1.postMessage({ type: "hello", token: "t", awake: true, lock: "stuck" });
        port1.postMessage({ type: "follow", reading: 1, run: "r", offset: 0 });
        write("r", 40_000);
        const size = logs.r.join("").length;
        const all = await until(() => whole(one, 40_001));
        await rest(50);
        port1.close(); port2.close();
        return { all, size, sent };
        """,
    )
    assert answer["all"]
    assert answer["size"] > 2_000_000
    assert 0 < answer["sent"] < 1_300_000


def test_tabs_on_many_runs_share_the_two_connections_too(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        for (const run of ["a", "b", "c", "d"]) write(run, 200);
        write("over", 200);
        write("over", 1, "run.end");
        const readers = ["a", "b", "c", "d", "over"].map((run) => openTab().follow(run));
        const isRead = (tab) => tab.caughtUp || tab.states.at(-1) === "over";
        await until(() => readers.every(isRead));
        for (const run of ["a", "b", "c", "d"]) write(run, 7);
        const live = await until(() => readers.slice(0, 4).every((tab) => whole(tab, 207)));
        const [over, read] = [readers[4].states.at(-1), whole(readers[4], 201)];
        return { live, over, read, most: wire.most };
        """,
    )
    assert answer == {"live": True, "over": "over", "read": True, "most": 2}


def test_a_server_that_goes_and_comes_back_is_said_to_every_tab(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        write("r", 50);
        for (let n = 0; n < 4; n += 1) openTab().follow("r");
        await until(() => tabs.every((tab) => tab.caughtUp));
        wire.down = true;
        const gone = await until(() => tabs.every((tab) => tab.states.at(-1) === "gone"));
        write("r", 25);
        wire.down = false;
        const isBack = (tab) => tab.states.at(-1) === "back" && whole(tab, 75);
        const back = await until(() => tabs.every(isBack));
        return { gone, back, most: wire.most };
        """,
    )
    assert answer == {"gone": True, "back": True, "most": 2}


def test_what_tabs_ask_at_the_same_moment_is_asked_once(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        for (let n = 0; n < 5; n += 1) openTab();
        await until(() => tabs.every((tab) => tab.runner === "live"));
        const answers = await Promise.all(tabs.map(({ link }) => link.get("api/control")));
        return { answers: [...new Set(answers.map(({ text }) => text))], lists: wire.lists };
        """,
    )
    assert answer == {"answers": ['{"allowed": false}'], "lists": 1}


def test_a_run_that_is_over_for_one_tab_is_not_over_for_those_behind(js: JavaScript) -> None:
    answer = ran(
        js,
        """
        write("r", 100);
        const behind = openTab().follow("r");
        await until(() => behind.caughtUp);
        behind.hide(true);
        await rest(20);
        write("r", 100);
        write("r", 1, "run.end");
        const isOver = (tab) => whole(tab, 201) && tab.states.at(-1) === "over";
        const first = openTab().follow("r");
        const ended = await until(() => isOver(first));
        const late = openTab().follow("r");
        const came = await until(() => isOver(late));
        behind.hide(false);
        return { ended, came, woke: await until(() => isOver(behind)) };
        """,
    )
    assert answer == {"ended": True, "came": True, "woke": True}

"""Windows that share a browser's connections: each reads every line once, none starves another."""

from __future__ import annotations

from typing import Any

from run.javascript import JavaScript

# A server of logs, a browser's locks and its windows, in one Node process. The offset of a line is
# its number here: 1 after the first one. `open` counts connections.
BROWSER = """
const encoder = new TextEncoder();
const timer = setTimeout; // of the server and the test; a window waits no second here
const rest = (ms) => new Promise((resolve) => timer(resolve, ms));
hurry();
const log = [];
const wire = { open: 0, most: 0, down: false };
const write = (count, kind = "metrics") => {
  for (let n = 0; n < count; n += 1) {
    const seq = log.length;
    log.push(JSON.stringify({ v: 1, run: "r", seq, att: 0, kind, t: seq, step: seq, m: {},
      status: "finished" }));
  }
};
const isOver = () => log.at(-1)?.includes("run.end");
globalThis.fetch = async (url, { signal }) => {
  if (wire.down) throw new TypeError("Failed to fetch");
  let sent = Number(new URL(url, "http://here/").searchParams.get("after"));
  if (sent === log.length && isOver()) return new Response(null, { status: 204 });
  wire.open += 1;
  wire.most = Math.max(wire.most, wire.open);
  let isOpen = true;
  const close = () => { if (isOpen) wire.open -= 1; isOpen = false; };
  signal.addEventListener("abort", close);
  const body = new ReadableStream({
    async start(controller) {
      let caughtUp = false;
      while (isOpen && !wire.down) {
        for (const text of log.slice(sent, sent + 500)) {
          controller.enqueue(encoder.encode(`id: ${++sent}\\ndata: ${text}\\n\\n`));
        }
        if (sent === log.length && !caughtUp) {
          caughtUp = true;
          controller.enqueue(encoder.encode(": caught-up\\n\\n"));
        }
        if (sent === log.length && isOver()) { close(); return controller.close(); }
        await rest(2);
      }
      close();
      try { controller.error(new TypeError("network error")); } catch { /* already cancelled */ }
    },
  });
  return new Response(body, { status: 200 });
};
const held = new Map(); // lock → the end of its queue
const locks = {
  async request(name, options, use) {
    if (options.ifAvailable && held.has(name)) return use(null);
    const before = held.get(name) ?? Promise.resolve();
    const work = before.then(() => (options.signal?.aborted ? null : use({ name })));
    const tail = work.catch(() => {}).then(() => held.get(name) === tail && held.delete(name));
    held.set(name, tail);
    return work;
  },
};
const windows = [];
const openWindow = () => {
  const page = Object.assign(new EventTarget(), { hidden: false });
  const stop = new AbortController();
  const one = { page, seqs: [], states: [], caughtUp: false, shared: false, stop };
  windows.push(one);
  void followRun({
    run: "r",
    signal: one.stop.signal,
    onEvents: (events) => one.seqs.push(...events.map(({ seq }) => seq)),
    onState: (state) => one.states.push(state),
    onWriter() {},
    onRestart() { one.seqs.length = 0; },
    onCaughtUp: (caughtUp) => { one.caughtUp = caughtUp; },
    onShared: (shared) => { one.shared = shared; },
  }, { page, locks });
  one.hide = (hidden) => {
    page.hidden = hidden;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  return one;
};
const until = async (reached) => {
  for (let n = 0; n < 2000 && !reached(); n += 1) await rest(5);
  return reached();
};
const whole = (one, count) => one.seqs.length === count && one.seqs.every((seq, at) => seq === at);
globalThis.sessionStorage = { getItem: () => "t" };
globalThis.location = { hash: "" };
"""


def in_windows(js: JavaScript, body: str) -> Any:
    """What `body` returns; the windows are closed after it."""
    return js(
        f"{BROWSER} try {{ {body} }} finally {{ for (const one of windows) one.stop.abort(); }}"
    )


def test_four_windows_hold_a_connection_and_the_others_read_one_after_the_other(
    js: JavaScript,
) -> None:
    answer = in_windows(
        js,
        """
        write(1000);
        for (let n = 0; n < 8; n += 1) openWindow();
        const read = await until(() => windows.every((one) => one.caughtUp && whole(one, 1000)));
        const shared = windows.filter((one) => one.shared).length;
        write(50);
        const went = await until(() => windows.every((one) => whole(one, 1050)));
        return { read, shared, went, most: wire.most, held: await until(() => wire.open === 4) };
        """,
    )
    assert answer == {"read": True, "shared": 4, "went": True, "most": 5, "held": True}


def test_a_window_that_closes_gives_its_connection_to_one_that_waits(js: JavaScript) -> None:
    answer = in_windows(
        js,
        """
        write(10);
        for (let n = 0; n < 5; n += 1) openWindow();
        await until(() => windows.every((one) => one.caughtUp));
        const late = windows.find((one) => one.shared);
        windows.find((one) => !one.shared).stop.abort();
        return { waited: late !== undefined, taken: await until(() => !late.shared) };
        """,
    )
    assert answer == {"waited": True, "taken": True}


def test_a_hidden_window_rests_and_catches_up_when_it_is_visible(js: JavaScript) -> None:
    answer = in_windows(
        js,
        """
        write(10);
        const one = openWindow();
        await until(() => one.caughtUp);
        one.hide(true);
        const closed = await until(() => wire.open === 0);
        write(50);
        await rest(30);
        const hidden = one.seqs.length;
        const early = one.caughtUp;
        one.hide(false);
        const seen = await until(() => whole(one, 60) && one.caughtUp);
        return { closed, hidden, early, seen, states: one.states };
        """,
    )
    states = ["connecting", "live"]
    assert answer == {"closed": True, "hidden": 10, "early": False, "seen": True, "states": states}


def test_a_server_that_goes_and_comes_back_costs_nothing(js: JavaScript) -> None:
    answer = in_windows(
        js,
        """
        write(50);
        for (let n = 0; n < 5; n += 1) openWindow();
        await until(() => windows.every((one) => one.caughtUp));
        wire.down = true;
        const gone = await until(() => windows.every((one) => one.states.at(-1) === "gone"));
        write(25);
        wire.down = false;
        const isBack = (one) => one.states.at(-1) === "back" && whole(one, 75);
        return { gone, back: await until(() => windows.every(isBack)) };
        """,
    )
    assert answer == {"gone": True, "back": True}


def test_a_run_that_ends_while_a_window_is_hidden_is_over_there_too(js: JavaScript) -> None:
    answer = in_windows(
        js,
        """
        write(100);
        const [one, two] = [openWindow(), openWindow()];
        await until(() => one.caughtUp && two.caughtUp);
        two.hide(true);
        write(100);
        write(1, "run.end");
        const isOver = (window) => whole(window, 201) && window.states.at(-1) === "over";
        const ended = await until(() => isOver(one));
        two.hide(false);
        return { ended, woke: await until(() => isOver(two)) };
        """,
    )
    assert answer == {"ended": True, "woke": True}


def test_without_web_locks_a_window_holds_a_connection_of_its_own(js: JavaScript) -> None:
    answer = in_windows(
        js,
        """
        write(10);
        const seqs = [];
        const page = Object.assign(new EventTarget(), { hidden: false });
        const stop = new AbortController();
        windows.push({ stop });
        let shared = null;
        void followRun({
          run: "r", signal: stop.signal, onEvents: (events) => seqs.push(...events), onState() {},
          onWriter() {}, onRestart() {}, onCaughtUp() {}, onShared: (is) => { shared = is; },
        }, { page, locks: null });
        await until(() => seqs.length === 10);
        return { read: seqs.length, shared };
        """,
    )
    assert answer == {"read": 10, "shared": False}

"""A server, a hub and tabs in one Node process, on real message channels."""

from __future__ import annotations

from typing import Any

from run.javascript import JavaScript

# `logs` by run: lines; whoever follows one gets what is there and what comes. `open` counts.
WIRE = """
const encoder = new TextEncoder();
const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const logs = {};
const wire = { open: 0, most: 0, asked: [], lists: 0, down: false };
const line = (run, seq, kind = "metrics") =>
  JSON.stringify({ v: 1, run, seq, kind, t: seq, step: seq });
const write = (run, count, kind) => {
  const log = (logs[run] ??= []);
  for (let n = 0; n < count; n += 1) log.push(line(run, log.length, kind));
};
const isOver = (run) => logs[run].at(-1)?.includes("run.end");
const infoOf = (run) => ({
  id: run,
  status: isOver(run) ? "finished" : "running",
  updated: logs[run].length,
  bytes: logs[run].join("\\n").length,
});
const counted = (signal) => {
  wire.open += 1;
  wire.most = Math.max(wire.most, wire.open);
  let done = false;
  const close = () => { if (!done) wire.open -= 1; done = true; };
  signal?.addEventListener("abort", close);
  return close;
};
// The offset of a line is its number here: 1 after the first one.
const events = (run, after, signal, close) => {
  if (after === logs[run].length && isOver(run)) {
    close();
    return new Response(null, { status: 204 });
  }
  let sent = after;
  let caughtUp = false;
  const body = new ReadableStream({
    async start(controller) {
      controller.enqueue(encoder.encode(": writer yes\\n\\n"));
      while (!signal.aborted && !wire.down) {
        const batch = logs[run].slice(sent, sent + 500);
        for (const text of batch) {
          controller.enqueue(encoder.encode(`id: ${++sent}\\ndata: ${text}\\n\\n`));
        }
        if (!batch.length && isOver(run)) { close(); return controller.close(); }
        if (!batch.length && !caughtUp) {
          caughtUp = true;
          controller.enqueue(encoder.encode(": caught-up\\n\\n"));
        }
        await rest(2);
      }
      close();
      try { controller.error(new TypeError("network error")); } catch { /* it was given up */ }
    },
  });
  return new Response(body, { status: 200 });
};
const serve = async (path, { signal }) => {
  if (wire.down) throw new TypeError("Failed to fetch");
  if (path === "api/runs") {
    wire.lists += 1;
    return new Response(JSON.stringify(Object.keys(logs).map(infoOf)));
  }
  if (path === "api/control") return rest(5).then(() => new Response('{"allowed": false}'));
  const [, run, after] = /runs\\/(.*)\\/events\\?after=(.*)/.exec(path);
  wire.asked.push([run, Number(after)]);
  return events(run, Number(after), signal, counted(signal));
};
const gone = {};
const dies = (lock) => {
  if (!gone[lock]) {
    gone[lock] = {};
    gone[lock].promise = new Promise((resolve) => { gone[lock].resolve = resolve; });
  }
  return gone[lock];
};
let hubs = 0;
let hub = null;
const newHub = () => {
  const lock = `hub ${++hubs}`;
  const whenGone = (name) => dies(name).promise;
  hub = new Hub({ follow: followLines, fetch: serve, whenGone, lock });
  return lock;
};
let hubLock = newHub();
const tabs = [];
const openTab = (token = "t") => {
  const tab = { hidden: false, lock: `tab ${tabs.length}`, seqs: [], states: [], ports: [] };
  tabs.push(tab);
  tab.link = new Link({
    connect: () => {
      const { port1, port2 } = new MessageChannel();
      tab.ports = [port1, port2];
      hub.connect(port2);
      return { port: port1, broken: new Promise(() => {}) };
    },
    whenGone: (name) => dies(name).promise,
    lock: tab.lock,
    hold: async () => {},
    isAwake: () => !tab.hidden,
  });
  tab.link.open(token, ({ state }) => Object.assign(tab, { runner: state }));
  tab.follow = (run) => {
    tab.stop = new AbortController();
    tab.link.follow({
      run,
      signal: tab.stop.signal,
      onLines: (texts) => tab.seqs.push(...texts.map((text) => JSON.parse(text).seq)),
      onState: (state) => tab.states.push(state),
      onWriter: (writer) => { tab.writer = writer; },
      onRestart: () => { tab.seqs.length = 0; },
      onCaughtUp: (caughtUp) => { tab.caughtUp = caughtUp; },
    });
    return tab;
  };
  tab.hide = (hidden) => { tab.hidden = hidden; tab.link.awake(!hidden); };
  return tab;
};
const until = async (reached) => {
  for (let n = 0; n < 2000 && !reached(); n += 1) await rest(5);
  return reached();
};
const whole = (tab, count) => tab.seqs.length === count && tab.seqs.every((seq, at) => seq === at);
const finish = () => {
  for (const tab of tabs) tab.ports.forEach((port) => port.close());
};
"""


def ran(js: JavaScript, body: str, value: object = None) -> Any:
    """What `body` returns, run with the wire."""
    return js(f"{WIRE} try {{ {body} }} finally {{ finish(); }}", value)

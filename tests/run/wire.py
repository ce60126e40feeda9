"""A worker at the other end of a wire, for the page's trainer in Node: tests say what it does."""

from __future__ import annotations

from typing import Any

from run.javascript import JavaScript

# A minute passes in 60 milliseconds. `says(worker, message)` is what the other end does.
WIRE = """
const real = globalThis.setTimeout;
globalThis.setTimeout = (call, ms, ...rest) => real(call, ms / 1000, ...rest);
const rest = (ms) => new Promise((resolve) => real(resolve, ms));
const workers = [];
let says = () => {};
globalThis.Worker = class extends EventTarget {
  heard = [];
  dead = false;
  constructor() { super(); workers.push(this); }
  postMessage(message) {
    const prepared = () => this.say({ type: "prepared", version: PYTHON_HASH });
    if (message.type === "prepare") return queueMicrotask(prepared);
    this.heard.push(message);
    queueMicrotask(() => this.dead || says(this, message));
  }
  terminate() { this.dead = true; }
  say(data) { this.dispatchEvent(Object.assign(new Event("message"), { data })); }
};
const line = (seq, kind, more) =>
  JSON.stringify({ v: 1, run: "r", seq, att: 0, kind, t: seq, step: seq, ...more }) + "\\n";
const losses = { task: [9, 1], general: [0.1, 0.2] };
const events = (run, ...lines) => ({ type: "events", run, lines: lines.join("") });
const last = (seq, status) => line(seq, "run.end", { status, reason: "why", summary: { losses } });
/** A worker as it should be, whose runs are over once `steps` are; 0 for never. */
const sound = (steps) => (worker, message) => {
  const { type, run, call } = message;
  if (type === "boot") worker.say({ type: "ready" });
  if (type === "ask") worker.say({ type: "answer", call, json: '{"text":"yes"}' });
  if (type === "stop") {
    const { run: on } = worker.heard.findLast((one) => one.type === "start");
    worker.say(events(on, last(9, "stopped")));
    worker.say({ type: "ended", run: on });
  }
  if (type !== "start") return;
  worker.say({ type: "began", run, problem: "", title: "plain", command: "train" });
  worker.say(events(run, line(0, "run.start"), line(1, "beat")));
  if (!steps) return;
  worker.say(events(run, last(2, "finished")));
  worker.say({ type: "ended", run });
};
says = sound(1);
pageRuns.all.clear();
const trainer = new PageTrainer(new URL("http://here/worker.js"));
trainer.load = async () => ({ numpy: "wheel" });
const phases = [];
trainer.addEventListener("status", () => {
  if (phases.at(-1) !== trainer.status.phase) phases.push(trainer.status.phase);
});
const logs = () =>
  [...pageRuns.all.values()].map(({ lines, over }) => ({ over, events: eventsOf(lines) }));
"""


def ran(js: JavaScript, body: str, value: object = None) -> Any:
    """What `body` returns, run with the wire."""
    return js(WIRE + body, value)

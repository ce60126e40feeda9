/**
 * Event lines: `unfrozen.frontier.log` in JavaScript. A kind that a newer trainer added comes through
 * as its head alone; fields that are not known are left out and counted.
 */

import { check } from "./check.js";
import { read, refused } from "./read.js";
import { shapes } from "./shapes.js";

const whole = new Map();

/**
 * @param {string} line without its newline
 * @returns {import("./check.js").Verdict} never throws
 */
export function readLine(line) {
  const found = read(line, shapes().most.line, "the line");
  return found.problem ? found : readEvent(found.value);
}

/** @returns {import("./check.js").Verdict} the event in a value that was parsed */
export function readEvent(value) {
  const { head, events } = shapes();
  if (head === null) return refused("this page holds no schema of events");
  const kind = value?.kind;
  const isKnown = typeof kind === "string" && Object.hasOwn(events, kind);
  return check(isKnown ? shapeOf(kind, head, events[kind]) : head, value, "the line");
}

function shapeOf(kind, head, own) {
  if (!whole.has(kind)) {
    const fields = { ...head.fields, ...own.fields };
    whole.set(kind, { ...own, fields, needs: [...head.needs, ...own.needs] });
  }
  return whole.get(kind);
}

/** How far a log has come before its first line. Plain data. */
export function newOrder() {
  return { run: "", seq: -1, attempt: 0, step: 0, started: false, over: false };
}

/**
 * Whether `event` (as `readLine` gives it) may come next; if so, `order` goes on to it. One that was
 * heard before is a repetition, and no fault of order.
 * @returns {string} why it may not; "" if it may
 */
export function judge(order, event) {
  if (event.seq <= order.seq) return "";
  const { kind, step = order.step } = event;
  const again = event.att > order.attempt || kind === "run.resume";
  const problem = orderProblem(order, event, step, again);
  if (problem) return problem;
  Object.assign(order, { run: event.run, seq: event.seq, attempt: event.att });
  order.started ||= kind === "run.start";
  order.over = kind === "run.end" || (order.over && !again);
  if (again || shapes().stepped.includes(kind)) order.step = step;
  return "";
}

function orderProblem(order, { run, att, kind }, step, again) {
  const { stepped, after_the_end } = shapes();
  if (order.run && run !== order.run) return "run is another one than that of the lines before";
  if (att < order.attempt) return `att is ${counted(att)}; the log had come to attempt ${counted(order.attempt)}`;
  if (kind === "run.start" && order.started) return "kind is run.start; a run starts once";
  if (order.over && !again && !after_the_end.includes(kind)) {
    return `kind is ${kind}; the run had ended, and was not resumed`;
  }
  if (stepped.includes(kind) && !again && step < order.step) {
    return `step is ${counted(step)}; the log had come to step ${counted(order.step)}`;
  }
  return "";
}

function counted(value) {
  return value.toLocaleString("en");
}

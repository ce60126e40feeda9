/**
 * Lines of events.jsonl: `unfrozen.schema.event_log` in JavaScript. An unknown kind passes as its head
 * alone; unknown properties are left out and counted.
 */

import { check, read, refused } from "./check.js";
import { shapes } from "./schema.js";

const wholeShapes = new Map(); // by kind

/**
 * @param {string} line without its newline
 * @returns {import("./check.js").Checked} never throws
 */
export function readLine(line) {
  const found = read(line, shapes().max_line_length, "the line");
  return found.problem ? found : readEvent(found.value);
}

/** @returns {import("./check.js").Checked} the event in a value that was parsed */
export function readEvent(value) {
  const { head, events } = shapes();
  if (head === null) return refused("this page holds no schema of events");
  const kind = value?.kind;
  const isKnown = typeof kind === "string" && Object.hasOwn(events, kind);
  return check(isKnown ? shapeOf(kind, head, events[kind]) : head, value, "the line");
}

function shapeOf(kind, head, own) {
  if (!wholeShapes.has(kind)) {
    const properties = { ...head.properties, ...own.properties };
    wholeShapes.set(kind, { ...own, properties, required: [...head.required, ...own.required] });
  }
  return wholeShapes.get(kind);
}

/** The state of a log before its first line. Plain data. */
export function newOrder() {
  return { run: "", seq: -1, attempt: 0, step: 0, started: false, over: false };
}

/**
 * Take `event` (as `readLine` returns it) as the next, and move `order` on to it. A repeated event is no
 * fault: it passes and changes nothing.
 * @returns {string} why it cannot be the next; "" if it can
 */
export function accept(order, event) {
  if (event.seq <= order.seq) return "";
  const { kind, step = order.step } = event;
  const resumed = event.att > order.attempt || kind === "run.resume";
  const problem = orderProblem(order, event, step, resumed);
  if (problem) return problem;
  Object.assign(order, { run: event.run, seq: event.seq, attempt: event.att });
  order.started ||= kind === "run.start";
  order.over = kind === "run.end" || (order.over && !resumed);
  if (resumed || shapes().stepped.includes(kind)) order.step = step;
  return "";
}

function orderProblem(order, { run, att, kind }, step, resumed) {
  const { stepped, after_the_end } = shapes();
  if (order.run && run !== order.run) return "run differs from that of the lines before";
  if (att < order.attempt) return `att is ${counted(att)}; the log had come to attempt ${counted(order.attempt)}`;
  if (kind === "run.start" && order.started) return "kind is run.start; a run starts once";
  if (order.over && !resumed && !after_the_end.includes(kind)) {
    return `kind is ${kind}; the run had ended and was not resumed`;
  }
  if (stepped.includes(kind) && !resumed && step < order.step) {
    return `step is ${counted(step)}; the log had come to step ${counted(order.step)}`;
  }
  return "";
}

function counted(value) {
  return value.toLocaleString("en");
}

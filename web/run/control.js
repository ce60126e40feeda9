/**
 * Whether this page may control runs, and how it does. The server decides; a page that may not has no buttons. Every command
 * carries the token of this tab.
 */

import { SITE } from "../page/site.js";
import { check } from "../schema/check.js";
import { shapes } from "../schema/schema.js";
import { sentence } from "./notices.js";
import { currentToken, runner } from "./runner.js";

const RETRY_MS = 700;
const LIVE = ["running", "paused", "stalled"];

/**
 * @typedef {{name: string, verb?: string, at: number, alive: boolean, run: string | null, lines: string[]}} Started
 */

class Control extends EventTarget {
  allowed = false;
  /** @type {Started | null} the newest launch from a page */
  started = null;
  #seenRuns = "";
  #timer = 0;
  #started = false;

  /** Starts to ask the server; later calls do nothing. */
  start() {
    if (this.#started) return;
    this.#started = true;
    runner.addEventListener("change", () => this.#runnerChanged());
    this.#runnerChanged();
  }

  /** @returns {Promise<{seq: number | null, problem: string, answered: true}>} the number of the command, or why it was refused */
  async send(run, command) {
    const { data, problem } = await post(`api/runs/${encodeURIComponent(run)}/control`, { command });
    if (data && "started" in data) this.#update({ ...this, started: data.started });
    return { seq: data?.seq ?? null, problem, answered: true };
  }

  /**
   * Asks the model of a run. A run that trains answers in its log: then there is a `seq` only.
   * @param {{prompt: string, tokens: number, temperature: number, seed: number}} question
   * @returns {Promise<{data: any, problem: string}>} both answers, or why it was refused
   */
  ask(run, question) {
    return post(`api/runs/${encodeURIComponent(run)}/ask`, question);
  }

  /** Asks again when the server comes (back), and when a run begins or ends. */
  #runnerChanged() {
    const seen = runner.state + runner.runs.map(({ id, status }) => ` ${id}=${status}`).join("");
    if (seen === this.#seenRuns) return;
    this.#seenRuns = seen;
    if (runner.state === "live") this.#ask();
  }

  async #ask() {
    clearTimeout(this.#timer);
    const { status, text } = await runner.get("api/control");
    const answer = status === 200 ? parseAnswer(text) : null;
    if (answer) this.#update(answer);
    else if ((status === 0 || status >= 500) && runner.state === "live") this.#askLater();
  }

  #askLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), RETRY_MS);
  }

  #update({ allowed = false, started = null }) {
    const same = JSON.stringify([allowed, started]) === JSON.stringify([this.allowed, this.started]);
    Object.assign(this, { allowed, started });
    const { status } = runner.runs.find(({ id }) => id === started?.run) ?? {};
    if (started?.alive && !LIVE.includes(status)) this.#askLater();
    if (!same) this.dispatchEvent(new Event("change"));
  }
}

/** @returns {Promise<{data: any, problem: string, status: number}>} the server's answer to a command; never rejects */
export async function post(path, body) {
  try {
    const answer = await fetch(new URL(path, SITE), {
      method: "POST",
      headers: { Authorization: `Bearer ${await currentToken()}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
    });
    const text = await answer.text();
    const { status } = answer;
    const refusal = () => sentence(parseReason(text).trim() || "the server refused without giving a reason");
    if (!answer.ok) return { data: null, problem: refusal(), status };
    const data = parseAnswer(text);
    return { data, problem: data ? "" : "This page cannot read the server's answer: reload the page.", status };
  } catch {
    return { data: null, problem: "The server does not answer: the command was not sent.", status: 0 };
  }
}

/** Returns the reason of a refusal: routes answer {error}, the guard plain text. */
function parseReason(text) {
  try {
    return String(JSON.parse(text).error);
  } catch {
    return text;
  }
}

/**
 * @typedef {object} Answer
 * @property {boolean} [allowed]
 * @property {number | null} [seq]
 * @property {Started | null} [started]
 */

/**
 * @param {string} text an answer of /api/control, or to a command
 * @returns {Answer | null} null where it does not fit the schema
 */
export function parseAnswer(text) {
  const shape = shapes();
  let data = null;
  try {
    data = JSON.parse(text);
  } catch {
    return null; // reported by the caller
  }
  return shape.answer && data !== null ? check(shape.answer, data).value : null;
}

/** Whether and how this page may control runs. */
export const control = new Control();

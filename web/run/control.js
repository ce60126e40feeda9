/**
 * Whether this page may change anything, and the two ways to do it. The server decides; a page that
 * may not has no buttons. Every command carries the token of this tab.
 */

import { answerIn } from "../schema/server-answers.js";
import { runner } from "./runner.js";
import { currentToken } from "./token.js";

const AGAIN_MS = 700;
const LIVE = ["running", "paused", "stalled"];

/**
 * @typedef {{value: number | null, low: number, high: number, whole: boolean}} Bounded
 * @typedef {{name: string, problem: string, numbers: Record<string, Bounded>}} Recipe
 * @typedef {{name: string, at: number, alive: boolean, run: string | null, code: number | null, lines: string[]}} Started
 */

class Control extends EventTarget {
  allowed = false;
  /** @type {Recipe[]} */
  recipes = [];
  /** @type {Started | null} how the last launch from a page stands */
  started = null;
  #seenRuns = "";
  #timer = 0;
  #started = false;

  /** Begins to ask; later calls do nothing. */
  start() {
    if (this.#started) return;
    this.#started = true;
    runner.addEventListener("change", () => this.#runnerChanged());
    this.#runnerChanged();
  }

  /** @returns {Promise<Partial<import("./commands.js").Asked>>} the command's number, or why not */
  async send(run, command) {
    const { data, problem } = await post(`api/runs/${encodeURIComponent(run)}/control`, { command });
    if (data?.started) this.#take({ ...this, started: data.started });
    return { seq: data?.seq ?? null, problem, answered: true };
  }

  /** Starts a recipe with some numbers of its own; @returns {Promise<string>} why not, or "" */
  launch(recipe, numbers) {
    return this.#post("api/start", { recipe, numbers });
  }

  /** Ends the start of `name` while it loads; @returns {Promise<string>} why not, or "" */
  cancel(name) {
    return this.#post("api/start/cancel", { name });
  }

  async #post(path, body) {
    const { data, problem } = await post(path, body);
    if (data) this.#take({ ...this, started: data.started });
    return problem;
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
    const answer = status === 200 ? answerIn(text) : null;
    if (answer) this.#take(answer);
    else if ((status === 0 || status >= 500) && runner.state === "live") this.#askLater();
  }

  #askLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), AGAIN_MS);
  }

  #take({ allowed = false, recipes = [], started = null }) {
    const same = JSON.stringify([allowed, recipes, started]) === JSON.stringify([this.allowed, this.recipes, this.started]);
    Object.assign(this, { allowed, recipes, started });
    const { status } = runner.runs.find(({ id }) => id === started?.run) ?? {};
    if (started?.alive && !LIVE.includes(status)) this.#askLater();
    if (!same) this.dispatchEvent(new Event("change"));
  }
}

/** @returns {Promise<{data: any, problem: string}>} the server's answer to a command; never rejects */
async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { Authorization: `Bearer ${currentToken()}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
    });
    const text = await answer.text();
    if (!answer.ok) return { data: null, problem: sentence(reasonIn(text)) };
    const data = answerIn(text);
    return { data, problem: data ? "" : "This page cannot read the server's answer: reload the page." };
  } catch {
    return { data: null, problem: "The server does not answer: the command was not sent." };
  }
}

/** The routes answer {error}; the guard answers a plain line. */
function reasonIn(text) {
  try {
    return String(JSON.parse(text).error);
  } catch {
    return text;
  }
}

function sentence(text) {
  const reason = text.trim() || "the server refused without giving a reason";
  return reason.charAt(0).toUpperCase() + reason.slice(1) + (/[.!?]$/.test(reason) ? "" : ".");
}

/** Whether and how this page may control runs. */
export const control = new Control();

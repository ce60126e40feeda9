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
  /** @type {Started | null} how the last start from a page stands */
  started = null;
  #seen = "";
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
  async tell(run, command) {
    const { data, problem } = await post(`api/runs/${encodeURIComponent(run)}/control`, { command });
    if (data?.started) this.#take({ ...this, started: data.started });
    return { seq: data?.seq ?? null, problem, answered: true };
  }

  /** Starts a recipe with some numbers of its own; @returns {Promise<string>} why not, or "" */
  begin(recipe, numbers) {
    return this.#order("api/start", { recipe, numbers });
  }

  /** Ends the start of `name` while it loads; @returns {Promise<string>} why not, or "" */
  cancel(name) {
    return this.#order("api/start/cancel", { name });
  }

  async #order(path, body) {
    const { data, problem } = await post(path, body);
    if (data) this.#take({ ...this, started: data.started });
    return problem;
  }

  /** Asks again when the server comes (back), and when a run begins or ends. */
  #runnerChanged() {
    const seen = runner.state + runner.runs.map(({ id, status }) => ` ${id}=${status}`).join("");
    if (seen === this.#seen) return;
    this.#seen = seen;
    if (runner.state === "live") this.#ask();
  }

  async #ask() {
    clearTimeout(this.#timer);
    const { status, text } = await runner.get("api/control");
    const answer = status === 200 ? answerIn(text) : null;
    if (answer) this.#take(answer); // else `runner` says so, and asks for us again
  }

  #take({ allowed = false, recipes = [], started = null }) {
    const same = JSON.stringify([allowed, recipes, started]) === JSON.stringify([this.allowed, this.recipes, this.started]);
    Object.assign(this, { allowed, recipes, started });
    const { status } = runner.runs.find(({ id }) => id === started?.run) ?? {};
    if (started?.alive && !LIVE.includes(status)) this.#timer = setTimeout(() => this.#ask(), AGAIN_MS);
    if (!same) this.dispatchEvent(new Event("change"));
  }
}

/** @returns {Promise<{data: any, problem: string}>} what a command was answered; never rejects */
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
    return { data, problem: data ? "" : "The server answered what this page cannot read: reload it." };
  } catch {
    return { data: null, problem: "The server does not answer: nothing was asked of the run." };
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
  const words = text.trim() || "the server refused without a word";
  return words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
}

/** What this page may change. */
export const control = new Control();

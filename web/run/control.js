/**
 * Whether this page may control runs, and how it does. The server decides; a page that may not has no buttons. Every command
 * carries the token of this tab.
 */

import { SITE } from "../page/site.js";
import { check } from "../schema/check.js";
import { shapes } from "../schema/schema.js";
import { currentToken, runner } from "./runner.js";

const RETRY_MS = 700;
const LIVE = ["running", "paused", "stalled"];

/**
 * @typedef {{value: number | null, low: number, high: number, whole: boolean}} Bounded
 * @typedef {{name: string, problem: string, numbers: Record<string, Bounded>}} Recipe
 * @typedef {{name: string, verb?: string, at: number, alive: boolean, run: string | null, code: number | null, lines: string[]}} Started
 */

class Control extends EventTarget {
  allowed = false;
  /** @type {Recipe[]} */
  recipes = [];
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
    if (data?.started) this.#update({ ...this, started: data.started });
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

  /** Starts a recipe with some numbers changed; @returns {Promise<string>} why it was refused, or "" */
  launch(recipe, numbers) {
    return this.#post("api/start", { recipe, numbers });
  }

  /** Cancels the start of `name` while it loads; @returns {Promise<string>} why it was refused, or "" */
  cancel(name) {
    return this.#post("api/start/cancel", { name });
  }

  async #post(path, body) {
    const { data, problem } = await post(path, body);
    if (data) this.#update({ ...this, started: data.started });
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
    const answer = status === 200 ? parseAnswer(text) : null;
    if (answer) this.#update(answer);
    else if ((status === 0 || status >= 500) && runner.state === "live") this.#askLater();
  }

  #askLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), RETRY_MS);
  }

  #update({ allowed = false, recipes = [], started = null }) {
    const same = JSON.stringify([allowed, recipes, started]) === JSON.stringify([this.allowed, this.recipes, this.started]);
    Object.assign(this, { allowed, recipes, started });
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
    if (!answer.ok) return { data: null, problem: sentence(parseReason(text)), status };
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

function sentence(text) {
  const reason = text.trim() || "the server refused without giving a reason";
  return reason.charAt(0).toUpperCase() + reason.slice(1) + (/[.!?]$/.test(reason) ? "" : ".");
}

/**
 * @typedef {object} Answer
 * @property {boolean} [allowed]
 * @property {Recipe[]} [recipes] one that cannot be read has a problem and cannot be started
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
  const { recipes, ...rest } = Object(data);
  const known = shape.answer && data !== null ? check(shape.answer, rest).value : null;
  if (known === null) return null;
  return { ...known, ...(Array.isArray(recipes) && { recipes: recipes.map((one) => checkRecipe(shape.recipe, one)) }) };
}

function checkRecipe(shape, recipe) {
  const { value, problem } = check(shape, recipe, "it");
  return value ?? { name: "A recipe", problem: `the page cannot read it: ${problem}`, numbers: {} };
}

/** Whether and how this page may control runs. */
export const control = new Control();

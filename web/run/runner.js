/**
 * The runner that serves this page: whether it answers, which runs it has, and the token that it accepts. It is polled
 * while the window is visible.
 *
 *   absent      a static host
 *   keyless     a runner is there, but this address has no token, because it was typed or followed as a link
 *   connecting  the first answer is awaited
 *   live        it answers
 *   gone        it answered before and does not now; it is still polled
 *   refused     it answers, but does not accept our token: it was restarted
 */

import { MARK, SITE } from "../page/site.js";
import { check } from "../schema/check.js";
import { shapes } from "../schema/schema.js";

const TOKEN_KEY = "unfrozen-token";
const TOKEN_PATTERN = /^[0-9a-f]{32,128}$/;
const POLL_MS = 1500;
const MORE_MS = 50; // where the server had not read all runs yet
const LAST_POLL_MS = 5000;
const TIMEOUT_MS = 10_000;

/**
 * @typedef {{loss: number | string, delta?: number | string, right?: number, of?: number}} Score
 * @typedef {{id: string, status: string, model: string, step: number, steps: number, started: number, updated: number, bytes: number,
 *   problem?: string, data?: string, tool?: string, task?: Score, general?: Score, peak_bytes?: number, predicted_bytes?: number}} RunInfo
 */

class Runner extends EventTarget {
  /** @type {"absent" | "keyless" | "connecting" | "live" | "gone" | "refused"} */
  state = "absent";
  /** @type {RunInfo[]} the newest first */
  runs = [];
  /** Whether the server has not read all logs yet: the list grows at once. */
  hasMore = false;
  /** Whether it is known that no runner is there, rather than not known yet. */
  isSettled = false;
  #started = false;
  #token = null;
  #version = ""; // of the list as it was last received: the next answer holds what has changed since
  #failures = 0;
  #isPolling = false;
  #timer = 0;

  /** Starts to poll for the list of runs; later calls do nothing. */
  start() {
    if (this.#started) return;
    this.#started = true;
    addEventListener("hashchange", () => this.#connect()); // the printed address, in this very window
    document.addEventListener("visibilitychange", () => this.#poll());
    this.#connect();
    if (this.#token === null) void this.#detect();
  }

  /**
   * Sends a GET request.
   * @param {string} path below the site
   * @returns {Promise<{status: number, text: string}>} status 0 when it does not answer
   */
  async get(path, token = this.#token) {
    try {
      const headers = { Authorization: `Bearer ${token}` };
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const answer = await fetch(new URL(path, SITE), { headers, cache: "no-store", signal });
      return { status: answer.status, text: await answer.text() };
    } catch {
      return { status: 0, text: "" }; // offline, ended or too slow: the state says so
    }
  }

  #connect() {
    const token = storedToken();
    if (offered) void currentToken().then((checked) => checked !== token && this.#connect());
    if (token === this.#token) return;
    this.#token = token;
    this.#version = "";
    this.#set("connecting", []);
    void this.#poll();
  }

  /** Finds out whether a runner serves this page, which needs no token. */
  async #detect() {
    await new Promise((resume) => setTimeout(resume)); // a page's first request takes a task of its own
    try {
      const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
      if (answer.headers.has(MARK) && this.state === "absent") this.state = "keyless";
    } catch {
      // offline, or a file: the same as a page without a runner
    }
    this.isSettled = true;
    this.dispatchEvent(new Event("change"));
  }

  async #poll() {
    clearTimeout(this.#timer);
    if (document.hidden || this.#token === null || this.#isPolling) return;
    this.#isPolling = true;
    const token = this.#token;
    const answer = await this.get(`api/runs?after=${this.#version}`);
    this.#isPolling = false;
    if (token !== this.#token) return void this.#poll();
    this.#update(answer);
    const isSlow = this.#failures > 0 || this.state === "refused";
    const delay = isSlow ? Math.min(POLL_MS * 2 ** (this.#failures || 2), LAST_POLL_MS) : this.hasMore ? MORE_MS : POLL_MS;
    this.#timer = setTimeout(() => this.#poll(), delay);
  }

  #update({ status, text }) {
    const changes = status === 200 ? parseChanges(text) : null;
    this.#failures = status === 0 || (status === 200 && !changes) ? this.#failures + 1 : 0;
    if (status === 401) this.#connect(); // an address may have brought another token meanwhile
    if (!changes) return this.#set(status === 401 ? "refused" : "gone", this.runs);
    this.#version = changes.version;
    this.hasMore = changes.more;
    const { whole, runs, gone } = changes;
    if (!whole && runs.length + gone.length === 0) return this.#set("live", this.runs);
    const replaced = new Set([...gone, ...runs.map(({ id }) => id)]);
    const kept = whole ? [] : this.runs.filter(({ id }) => !replaced.has(id));
    this.#set("live", [...kept, ...runs].sort(newestFirst));
  }

  #set(state, runs) {
    const same = state === this.state && (runs === this.runs || JSON.stringify(runs) === JSON.stringify(this.runs));
    this.state = state;
    this.runs = runs;
    if (!same) this.dispatchEvent(new Event("change"));
  }
}

/** @returns {number} the order of the list: newest first, then what cannot be read */
function newestFirst(a, b) {
  return Boolean(a.problem) - Boolean(b.problem) || b.started - a.started || (a.id < b.id ? -1 : 1);
}

/**
 * @param {string} text an answer of the server
 * @returns {{version: string, whole: boolean, more: boolean, runs: RunInfo[], gone: string[]} | null} null where it is none
 */
export function parseChanges(text) {
  try {
    const { version, whole, more, runs, gone } = JSON.parse(text);
    if (typeof version !== "string" || !Array.isArray(runs) || !Array.isArray(gone)) return null;
    const is = { whole: whole === true, more: more === true };
    return { version: encodeURIComponent(version), ...is, runs: checkRuns(runs), gone: gone.map(String) };
  } catch {
    return null; // counted as a failed poll
  }
}

/**
 * Checks the list of runs of a server.
 * @param {unknown[]} list
 * @returns {RunInfo[]} entries that are no run stand at the end, with their problem
 */
export function checkRuns(list) {
  const { run } = shapes();
  if (run === null) return [];
  const verdicts = list.map((entry, index) => check(run, entry, `entry ${index + 1}`));
  const refused = verdicts.filter(({ problem }) => problem);
  const runs = verdicts.flatMap(({ value }) => (value === null ? [] : [{ ...value }]));
  return [...runs, ...refused.map(({ problem }) => unreadable(problem))];
}

function unreadable(problem) {
  return { id: "", status: "unreadable", model: "", step: 0, steps: 0, started: 0, updated: 0, bytes: 0, problem };
}

let memoryToken = null; // where the browser refuses storage, the token lasts as long as the page
let offered = null; // by an address, to a tab that has another token
let checking = null;

/**
 * Takes the token out of the address, if it has one. Call it once, before anything is fetched. The server prints the token
 * in the fragment, which browsers never send; the page moves it out of the address bar and keeps it for this tab only.
 * Workers cannot read sessionStorage, so the reader's Python never sees it. Other fragments stay unchanged. Anybody's link
 * may carry one: it replaces another once the runner has accepted it.
 */
export function takeToken() {
  const parts = location.hash.slice(1).split("&");
  const found = parts.find((part) => part.startsWith("t="))?.slice(2) ?? "";
  if (!TOKEN_PATTERN.test(found)) return;
  const rest = parts.filter((part) => !part.startsWith("t=")).join("&");
  history.replaceState(history.state, "", location.pathname + location.search + (rest && `#${rest}`));
  if (storedToken() === null) storeToken(found);
  else if (found !== memoryToken) offered = found;
}

/** @returns {string | null} the token of this tab, or null when the page was opened without one */
export function storedToken() {
  takeToken(); // elements may be upgraded before the first line of main.js runs
  try {
    memoryToken ??= sessionStorage.getItem(TOKEN_KEY);
  } catch {
    // storage is blocked: `memoryToken` serves this page; a reload needs the printed address again
  }
  return memoryToken;
}

/** @returns {Promise<string | null>} the same, once a token that an address has brought was checked */
export async function currentToken() {
  takeToken();
  if (offered) await (checking ??= checkOffered(offered).finally(() => (checking = null)));
  return storedToken();
}

async function checkOffered(token) {
  const { status } = await runner.get("api/runs", token);
  if (status === 200) storeToken(token);
  if ((status === 200 || status === 401) && offered === token) offered = null; // else it is asked again
}

function storeToken(token) {
  memoryToken = token;
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // as above
  }
}

/** The runner of this page. */
export const runner = new Runner();

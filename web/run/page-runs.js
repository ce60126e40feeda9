/**
 * The runs that were trained in this page, as logs: the page's trainer writes them, run views show them. The reader can
 * save a run in this browser, in IndexedDB; any other run, or all where the browser refuses that, is lost with the page.
 */

import { parseLines } from "./log-reader.js";

/**
 * @typedef {object} PageRun
 * @property {string} id
 * @property {string} title
 * @property {object} choices
 * @property {string} command that starts the same run in the runner; empty where the runner would refuse it
 * @property {string[]} lines of its log
 * @property {boolean} over
 * @property {object | null} end its last event
 * @property {{task: number, general: number}[]} path share of the task's held-out rows that are right, and of what the
 *   model knew before, at each evaluation
 * @property {boolean} [saved] in this browser, for the next visit
 */

class PageRuns extends EventTarget {
  /** @type {Map<string, PageRun>} in the order in which they began */
  all = new Map();

  /** @param {PageRun} run */
  add(run) {
    this.all.set(run.id, Object.assign(run, { path: pathOf(eventsOf(run.lines)) }));
    this.changed();
  }

  /** Appends to a run's log and dispatches "events" with `{id, events}`. */
  append(id, lines) {
    const run = this.all.get(id);
    run.lines.push(...lines);
    const events = eventsOf(lines);
    run.end = events.find(({ kind }) => kind === "run.end") ?? run.end;
    if (events.some(({ kind }) => kind === "eval")) run.path = pathOf(eventsOf(run.lines));
    this.dispatchEvent(new CustomEvent("events", { detail: { id, events } }));
  }

  /** Dispatches that the list, or a run in it, has changed. */
  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** Returns the log of a run as the file that a runner would have written. */
  file(id) {
    const text = this.all.get(id).lines.map((line) => `${line}\n`).join("");
    return new File([text], `${id}.jsonl`, { type: "application/jsonl" });
  }
}

/** @returns {import("./log-reader.js").Line[]} the events in lines of a log; damaged ones left out */
export function eventsOf(lines) {
  return parseLines(lines).events;
}

function pathOf(events) {
  const exact = (name) => events.filter(({ kind, suite, exact }) => kind === "eval" && suite === name && exact).map(({ exact }) => exact);
  const general = exact("general");
  return exact("task").slice(0, general.length).map(({ right, of }, index) => ({
    task: right / of,
    general: Math.min(1, general[index].right / Math.max(1, general[0].right)),
  }));
}

/** The runs of this page. */
export const pageRuns = new PageRuns();

// Any page of this origin may write into the store, so that a saved command is shown only if the page could have made it.
const COMMAND = new RegExp(
  "^unfrozen train --model demo" +
    "( --(steps|lr|seed|replay-share) [-+.\\de]+| --replay demo| --set (fisher_data=demo|[a-z\\d_]+=[-+.\\de]+))*$",
);

const NAME = "unfrozen-runs";
const STORE = "runs";

/**
 * Loads the saved runs; entries that are damaged or no runs are left out, and so is a command of another form.
 * @returns {Promise<PageRun[]>} in the order in which they began
 */
export async function loadSavedRuns() {
  const found = (await inStore("readonly", (store) => store.getAll())).filter(isRun);
  const runs = found.map((run) => (COMMAND.test(run.command) ? run : { ...run, command: "" }));
  return runs.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Lists the saved runs among those of this page; without storage there are none. */
export async function addSavedRuns() {
  for (const run of await loadSavedRuns().catch(() => [])) {
    if (pageRuns.all.has(run.id)) continue;
    const end = eventsOf(run.lines).findLast(({ kind }) => kind === "run.end") ?? null;
    pageRuns.add({ ...run, over: true, saved: true, end });
  }
}

/**
 * Saves a run. It is saved when the promise is fulfilled: the browser may refuse the space only then.
 * @param {PageRun} run
 */
export function saveRun(run) {
  const { id, title, choices, command, lines } = run;
  return inStore("readwrite", (store) => store.put({ id, title, choices, command, lines }));
}

/** @param {string} id */
export function deleteRun(id) {
  return inStore("readwrite", (store) => store.delete(id));
}

function isRun({ id, title, command, lines }) {
  const texts = [id, title, command, ...(Array.isArray(lines) ? lines : [null])];
  return texts.every((text) => typeof text === "string");
}

async function inStore(mode, use) {
  const database = await opened();
  try {
    return await complete(database.transaction(STORE, mode), use);
  } finally {
    database.close();
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => resolve(opening.result);
  });
}

function complete(transaction, use) {
  return new Promise((resolve, reject) => {
    const request = use(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error ?? request.error);
  });
}

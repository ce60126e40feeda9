/**
 * Logs of this page's runs that the reader keeps in this browser, in IndexedDB. Where that is
 * refused, a run lives as long as the page.
 */

const NAME = "unfrozen-runs";
const STORE = "runs";

/**
 * What is damaged, or was left there by something else, is left out.
 * @returns {Promise<import("./page-runs.js").PageRun[]>} in the order in which they began
 */
export async function keptRuns() {
  const found = (await inStore("readonly", (store) => store.getAll())).filter(isRun);
  return found.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/**
 * Kept when the promise is fulfilled: the browser may refuse the space as late as that.
 * @param {import("./page-runs.js").PageRun} run
 */
export function keep(run) {
  const { id, title, choices, command, lines } = run;
  return inStore("readwrite", (store) => store.put({ id, title, choices, command, lines }));
}

/** @param {string} id */
export function forget(id) {
  return inStore("readwrite", (store) => store.delete(id));
}

function isRun({ id, title, command, lines }) {
  const texts = [id, title, command, ...(Array.isArray(lines) ? lines : [null])];
  return texts.every((text) => typeof text === "string");
}

async function inStore(mode, use) {
  const database = await opened();
  try {
    return await done(database.transaction(STORE, mode), use);
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

function done(transaction, use) {
  return new Promise((resolve, reject) => {
    const asked = use(transaction.objectStore(STORE));
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onabort = () => reject(transaction.error ?? asked.error);
  });
}

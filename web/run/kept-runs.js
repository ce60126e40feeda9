/**
 * Logs of this page's runs that the reader keeps in this browser, in IndexedDB. Where that is
 * refused, a run lives as long as the page.
 */

const NAME = "unfrozen-runs";
const STORE = "runs";

/** @returns {Promise<import("./page-runs.js").PageRun[]>} in the order in which they began */
export async function keptRuns() {
  const found = await inStore("readonly", (store) => store.getAll());
  return found.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** @param {import("./page-runs.js").PageRun} run */
export function keep(run) {
  const { id, title, choices, command, lines } = run;
  return inStore("readwrite", (store) => store.put({ id, title, choices, command, lines }));
}

/** @param {string} id */
export function forget(id) {
  return inStore("readwrite", (store) => store.delete(id));
}

function inStore(mode, use) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const asked = use(database.transaction(STORE, mode).objectStore(STORE));
      asked.onsuccess = () => (database.close(), resolve(asked.result));
      asked.onerror = () => (database.close(), reject(asked.error));
    };
  });
}

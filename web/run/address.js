/**
 * The run in the address of the page of runs: `runs/?run=NAME` of this machine, `runs/?recording=FILE` of this site. The
 * token stays in the fragment, which browsers never send.
 */

const KINDS = { run: "live", recording: "recording" };

/** @returns {import("./watch.js").Source | null} the run that the address names */
export function runOfAddress() {
  const query = new URLSearchParams(location.search);
  const key = Object.keys(KINDS).find((each) => query.get(each));
  return key ? { kind: KINDS[key], name: query.get(key) } : null;
}

/** @returns {string} the query that leads to a run; empty for one that only this page has */
export function queryOfRun({ kind, name }) {
  const key = Object.keys(KINDS).find((each) => KINDS[each] === kind);
  return key ? `?${key}=${encodeURIComponent(name)}` : "";
}

/** Puts a run into the address. */
export function rememberRun(source) {
  history.replaceState(history.state, "", location.pathname + queryOfRun(source) + location.hash);
}

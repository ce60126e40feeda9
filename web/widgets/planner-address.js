/**
 * The planner's state in the address: `#planner?model=…&seq_len=4096`. A fragment, because browsers
 * never send it: what a reader plans stays between them and whom they give the link to.
 *
 * It shares the fragment with headings (`#the-memory-wall`) and with the token of the runner
 * (`#t=…`, taken out at once, see run/token.js), so it begins with a word of its own.
 */

const NAME = "#planner";

/** The planner's part of the address, or null when it carries none. @returns {string | null} */
export function queryOfAddress() {
  const { hash } = location;
  if (hash === NAME) return "";
  return hash.startsWith(`${NAME}?`) ? hash.slice(NAME.length + 1) : null;
}

/** The fragment for a state. @param {string} query */
export function fragment(query) {
  return query ? `${NAME}?${query}` : NAME;
}

/**
 * Makes a state the newest entry of the history, so that Back returns to the one before.
 * @param {string} before the state shown until now
 * @param {string} query the new one
 */
export function remember(before, query) {
  if (before === query) return;
  history.replaceState({ ...history.state, planner: before }, "");
  history.pushState({ planner: query }, "", fragment(query));
}

/**
 * Calls back when Back, Forward or a link brings a state.
 * @param {(query: string) => void} show
 */
export function followHistory(show) {
  addEventListener("popstate", ({ state }) => {
    const query = state?.planner ?? queryOfAddress();
    if (query !== null) show(query);
  });
}

/**
 * A widget's state in the address: `#planner?model=…&seq_len=4096`. A fragment, because browsers
 * never send it: what a reader plans stays between them and whom they give the link to.
 *
 * It shares the fragment with headings (`#the-memory-wall`), with the other widget that has a state
 * and with the token of the runner (`#t=…`, taken out at once, see run/token.js), so it begins with
 * the name of its widget.
 */

/**
 * A widget's part of the address, or null when it carries none.
 * @param {string} [name] the widget's
 * @returns {string | null}
 */
export function queryOfAddress(name = "planner") {
  const { hash } = location;
  const rest = hash.slice(name.length + 1);
  if (!hash.startsWith(`#${name}`) || /^[\w-]/.test(rest)) return null; // a heading, or another widget
  return rest.startsWith("?") ? rest.slice(1) : rest; // what else it is, Python refuses in words
}

/** The fragment for a state. @param {string} query */
export function fragment(query, name = "planner") {
  return query ? `#${name}?${query}` : `#${name}`;
}

/**
 * Makes a state the newest entry of the history, so that Back returns to the one before.
 * @param {string} before the state shown until now
 * @param {string} query the new one
 */
export function remember(before, query, name = "planner") {
  if (before === query) return;
  history.replaceState({ ...history.state, [name]: before }, "");
  history.pushState({ [name]: query }, "", fragment(query, name));
}

/**
 * Calls back when Back, Forward or a link brings a state.
 * @param {(query: string) => void} show
 */
export function followHistory(show, name = "planner") {
  addEventListener("popstate", ({ state }) => {
    const query = state?.[name] ?? queryOfAddress(name);
    if (query !== null) show(query);
  });
}

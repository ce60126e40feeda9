/**
 * What the page's address holds besides a place in the article: the state of each widget that has
 * one. `#planner?seq_len=4096` is a plan, `#references&planner?seq_len=4096` the same plan while
 * the reader is at the references: following a link, going back or loading the page anew keeps it.
 *
 *   fragment = [ place ] { "&" name "?" query }     or, at the widget itself,  name [ "?" query ] …
 *
 * A fragment, because browsers never send it: what a reader plans stays between them and whom they
 * give the link to. The token of the runner (`t=…`) is taken out before, see web/run/token.js.
 */

const NAMES = ["planner", "decision"];
const NEXT = new RegExp(`&(?=(?:${NAMES.join("|")})\\?)`);
const AT = new RegExp(`^(${NAMES.join("|")})(?![\\w-])\\??([^]*)$`);

/** What each widget shows, by its name; one that shows its default is not in it. */
const kept = new Map();
const followers = new Map();

/**
 * An address taken apart.
 * @param {string} hash
 * @returns {{place: string, at: string | null, queries: [string, string][]}} place: an element's id,
 *   or nothing; at: the widget that the address itself leads to
 */
export function readFragment(hash) {
  const [first, ...others] = hash.slice(1).split(NEXT);
  const queries = others.map((part) => [part.split("?", 1)[0], part.slice(part.indexOf("?") + 1)]);
  const [, at, query] = AT.exec(first) ?? [, null]; // what else follows the name, Python refuses in words
  return at ? { place: "", at, queries: [[at, query], ...queries] } : { place: first, at: null, queries };
}

/**
 * The fragment for a place or a widget, and for what every widget shows.
 * @param {string} first an element's id or a widget's name
 * @param {Map<string, string>} queries
 */
export function fragmentOf(first, queries) {
  const one = (name) => (queries.get(name) ? `${name}?${queries.get(name)}` : name);
  const others = NAMES.filter((name) => name !== first && queries.get(name));
  const parts = [NAMES.includes(first) ? one(first) : first, ...others.map(one)];
  return parts.some(Boolean) ? `#${parts.join("&")}` : "";
}

/** The fragment that leads to a widget in a state. @param {string} query */
export function fragment(query, name = "planner") {
  return fragmentOf(name, new Map([[name, query]]));
}

/** Whether the address leads to this widget, rather than past it. */
export function isAddressed(name) {
  return readFragment(location.hash).at === name;
}

/** What the address says that a widget shows; empty for its default. */
export function queryOfAddress(name) {
  return kept.get(name) ?? "";
}

/** Keeps the states of widgets through the links that the reader follows. Call it once. */
export function keepStates() {
  arrive();
  addEventListener("popstate", ({ state }) => (state?.shown ? comeBack(state.shown) : arrive()));
}

/** An address that is new: what it brings is taken, what it does not name stays as it is. */
function arrive() {
  const { place, at, queries } = readFragment(location.hash);
  for (const [name, query] of queries) keep(name, query);
  const hash = fragmentOf(at ?? place, kept);
  history.replaceState(entry(), "", hash === location.hash ? undefined : hash);
  for (const [name, query] of queries) followers.get(name)?.(query);
}

/** An entry of the history that was here before: every widget shows what it showed then. */
function comeBack(shown) {
  kept.clear();
  for (const [name, query] of Object.entries(shown)) keep(name, query);
  for (const [name, show] of followers) show(queryOfAddress(name));
}

function keep(name, query) {
  if (query) kept.set(name, query);
  else kept.delete(name);
}

function entry() {
  return { shown: Object.fromEntries(kept) };
}

/**
 * Makes a state the newest entry of the history, so that Back returns to the one before.
 * @param {string} before the state shown until now
 * @param {string} query the new one
 */
export function remember(before, query, name = "planner") {
  if (before === query) return;
  keep(name, query);
  history.pushState(entry(), "", fragmentOf(name, kept));
}

/**
 * Calls back when Back, Forward or a link brings a state.
 * @param {(query: string) => void} show
 */
export function followHistory(show, name = "planner") {
  followers.set(name, show);
}

/** Goes to the place of such an address; a plain one is the browser's own. */
export function goToPlace() {
  const { place, queries } = readFragment(location.hash);
  if (!place || queries.length === 0 || scrollY > 0) return;
  document.getElementById(place)?.scrollIntoView();
}

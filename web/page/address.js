/**
 * The fragment of the page's address: a place in the article, and the state of each widget that has one.
 * `#planner?seq_len=4096` is a plan, `#references&planner?seq_len=4096` the same plan while the reader is at the
 * references: following a link, going back or reloading the page keeps it.
 *
 *   fragment = [ place ] { "&" name "?" query }     or, at the widget itself,  name [ "?" query ] …
 *
 * Browsers never send the fragment, so a plan is known only to those who have the link. The token of the runner
 * (`t=…`) is taken out before, see web/run/runner.js.
 */

const NAMES = ["planner", "decision", "plans"]; // plans: those kept side by side
const NEXT = new RegExp(`&(?=(?:${NAMES.join("|")})\\?)`);
const AT = new RegExp(`^(${NAMES.join("|")})(?![\\w-])\\??([^]*)$`);

/** The way from this page to the root of the site, as a link from a figure begins. */
export const ROOT = globalThis.document?.documentElement?.dataset?.root ?? "";

/** The query of each widget by its name, without those that show their default. */
const queriesShown = new Map();
const listeners = new Map();

/**
 * Parses a fragment.
 * @param {string} hash
 * @returns {{place: string, at: string | null, queries: [string, string][]}} place: an element's id,
 *   or nothing; at: the widget that the address itself leads to
 */
export function readFragment(hash) {
  const [first, ...others] = hash.slice(1).split(NEXT);
  const queries = others.map((part) => [part.split("?", 1)[0], part.slice(part.indexOf("?") + 1)]);
  const [, at, query] = AT.exec(first) ?? [, null]; // Python refuses anything else after the name
  return at ? { place: "", at, queries: [[at, query], ...queries] } : { place: first, at: null, queries };
}

/**
 * Returns the fragment for a place or a widget, and for the state of every widget.
 * @param {string} first an element's id or a widget's name
 * @param {Map<string, string>} queries
 */
export function fragmentOf(first, queries) {
  const one = (name) => (queries.get(name) ? `${name}?${queries.get(name)}` : name);
  const others = NAMES.filter((name) => name !== first && queries.get(name));
  const parts = [NAMES.includes(first) ? one(first) : first, ...others.map(one)];
  return parts.some(Boolean) ? `#${parts.join("&")}` : "";
}

/** Returns the fragment that leads to a widget in a state. @param {string} query */
export function fragment(query, name = "planner") {
  return fragmentOf(name, new Map([[name, query]]));
}

/** Whether the address leads to this widget, rather than past it. */
export function isAddressed(name) {
  return readFragment(location.hash).at === name;
}

/** Returns the query of a widget in the address; empty for its default. */
export function queryOfAddress(name) {
  return queriesShown.get(name) ?? "";
}

/** Keeps the states of widgets while the reader follows links. Call it once. */
export function keepStates() {
  readAddress();
  addEventListener("popstate", ({ state }) => (state?.shown ? restore(state.shown) : readAddress()));
}

/** Takes the queries of a new address; widgets that it does not name keep theirs. */
function readAddress() {
  const { place, at, queries } = readFragment(location.hash);
  for (const [name, query] of queries) setQuery(name, query);
  const hash = fragmentOf(at ?? place, queriesShown);
  history.replaceState(historyState(), "", hash === location.hash ? undefined : hash);
  for (const [name, query] of queries) listeners.get(name)?.(query);
}

/** Restores every widget to what it showed at an earlier entry of the history. */
function restore(shown) {
  queriesShown.clear();
  carry();
  for (const [name, query] of Object.entries(shown)) setQuery(name, query);
  for (const [name, show] of listeners) show(queryOfAddress(name));
}

function setQuery(name, query) {
  if (query) queriesShown.set(name, query);
  else queriesShown.delete(name);
  carry();
}

let carrying = []; // links to pages that show the same states

/** Has links to other pages take the state of every widget along. @param {Iterable<HTMLAnchorElement>} links */
export function carryStates(links) {
  carrying = [...links];
  carry();
}

function carry() {
  for (const link of carrying) link.hash = fragmentOf("", queriesShown);
}

function historyState() {
  return { shown: Object.fromEntries(queriesShown) };
}

/**
 * Makes a state the newest entry of the history, so that Back returns to the previous one.
 * @param {string} before the state until now
 * @param {string} query the new one
 * @param {string} [at] the widget that the address then leads to
 */
export function remember(before, query, name = "planner", at = name) {
  if (before === query) return;
  setQuery(name, query);
  const isFramed = globalThis.parent !== globalThis.self; // Back is of the page around it
  history[isFramed ? "replaceState" : "pushState"](historyState(), "", fragmentOf(at, queriesShown));
}

/**
 * Calls back when Back, Forward or a link brings a state.
 * @param {(query: string) => void} show
 */
export function followHistory(show, name = "planner") {
  listeners.set(name, show);
}

/**
 * Leads to where a place is now, if it is no longer here: `#runs-that-came-later` became `accuracy/#runs-that-came-later`,
 * `#three-pulls` is told in `#why-nothing-objects`. The site builder lists such places by the address, without their name
 * where they have kept it. Call it once, before `keepStates`.
 */
export function followMoved() {
  const moved = Object.entries(JSON.parse(document.getElementById("moved")?.textContent ?? "{}"));
  const follow = () => {
    const { place } = readFragment(location.hash);
    const there = place && !document.getElementById(place) && moved.find(([, places]) => places.includes(place));
    if (there) location.replace(there[0].includes("#") ? there[0] : `${there[0]}#${place}`);
  };
  follow();
  addEventListener("hashchange", follow);
}

/** Scrolls to the place of an address with queries; the browser does it for others. */
export function goToPlace() {
  const { place, queries } = readFragment(location.hash);
  if (!place || queries.length === 0 || scrollY > 0) return;
  document.getElementById(place)?.scrollIntoView();
}

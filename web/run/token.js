/**
 * The token that lets this page read the runs of the server it came from. The server prints it in
 * the address's fragment, which browsers never send; the page moves it out of the address bar and
 * keeps it for this tab only. Workers cannot read sessionStorage, so the reader's Python never sees it.
 */

const KEY = "unfrozen-token";
const SHAPE = /^[0-9a-f]{32,128}$/;

let memoryToken = null; // for browsers that refuse storage: the token then lives as long as the page

/**
 * Takes the token out of the address, if it carries one. Call it once, before anything is fetched.
 * Other fragments (`#chapter`, a shared cell) stay as they are.
 */
export function takeToken() {
  const parts = location.hash.slice(1).split("&");
  const found = parts.find((part) => part.startsWith("t="))?.slice(2) ?? "";
  if (!SHAPE.test(found)) return;
  memoryToken = found;
  try {
    sessionStorage.setItem(KEY, found);
  } catch {
    // Storage is blocked: `memoryToken` serves this page; a reload needs the printed address again.
  }
  const rest = parts.filter((part) => !part.startsWith("t=")).join("&");
  history.replaceState(history.state, "", location.pathname + location.search + (rest && `#${rest}`));
}

/** @returns {string | null} the token of this tab, or null when the page was opened without one */
export function currentToken() {
  takeToken(); // elements may come to life before the page's entry has run its first line
  if (memoryToken === null) {
    try {
      memoryToken = sessionStorage.getItem(KEY);
    } catch {
      return null;
    }
  }
  return memoryToken;
}

/**
 * The site: its root, and the addresses of its scripts. Where the browser has Trusted Types, the page's policy lets no other
 * text become a script's address, nor any text become markup or code.
 */

/** The root of the site: the page may lie in a folder of it, scripts and workers lie one folder deep. */
export const SITE = new URL("../", import.meta.url);

/** A header of every answer of a runner's server. */
export const MARK = "Unfrozen-Runner";

const blobs = new Map(); // script → its `blob:`
const trustedTypes = globalThis.trustedTypes?.createPolicy("unfrozen", { createScriptURL: assertOwn });

/**
 * @param {URL} url of a script of this site
 * @returns {TrustedScriptURL | URL} what `new Worker` takes
 * @throws {TypeError} for anything else, where the browser has Trusted Types
 */
export function trustedAddress(url) {
  return trustedTypes ? trustedTypes.createScriptURL(url.href) : url;
}

/**
 * @param {URL} url of a script of this site
 * @returns {TrustedScriptURL | string} a `blob:` that imports it: its worker inherits the policy of this page
 */
export function blobAddress(url) {
  if (!blobs.has(url.href)) {
    const source = `import ${JSON.stringify(assertOwn(url.href))};`;
    blobs.set(url.href, URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  }
  const blob = blobs.get(url.href);
  return trustedTypes ? trustedTypes.createScriptURL(blob) : blob;
}

function assertOwn(address) {
  if ([...blobs.values()].includes(address)) return address;
  const { origin, pathname, href } = new URL(address);
  if (origin === location.origin && pathname.endsWith(".js")) return href;
  throw new TypeError(`${href.slice(0, 80)} is no script of this site`);
}

/**
 * The addresses of scripts that this page starts as workers. Where the browser has Trusted Types, the
 * page's policy lets no other text become a script's address, nor any text become markup or code.
 */

const guarded = new Map(); // script → its `blob:`
const policy = globalThis.trustedTypes?.createPolicy("unfrozen", { createScriptURL: own });

/**
 * @param {URL} url of a script of this site
 * @returns {TrustedScriptURL | URL} what `new Worker` takes
 * @throws {TypeError} for anything else, where the browser has Trusted Types
 */
export function scriptAddress(url) {
  return policy ? policy.createScriptURL(url.href) : url;
}

/**
 * The same script, so that its worker has this page's policy instead of the one that came with it:
 * a `blob:` of the page that is one import.
 * @param {URL} url of a script of this site
 * @returns {TrustedScriptURL | string} what `new Worker` takes
 */
export function guardedAddress(url) {
  if (!guarded.has(url.href)) {
    const source = `import ${JSON.stringify(own(url.href))};`;
    guarded.set(url.href, URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  }
  const blob = guarded.get(url.href);
  return policy ? policy.createScriptURL(blob) : blob;
}

function own(address) {
  if ([...guarded.values()].includes(address)) return address;
  const { origin, pathname, href } = new URL(address);
  if (origin === location.origin && pathname.endsWith(".js")) return href;
  throw new TypeError(`${href.slice(0, 80)} is no script of this site`);
}

/**
 * The addresses of scripts that this page starts as workers. Where the browser has Trusted Types, the
 * page's policy lets no other text become a script's address, nor any text become markup or code.
 */

const policy = globalThis.trustedTypes?.createPolicy("unfrozen", { createScriptURL: own });

/**
 * @param {URL} url of a script of this site
 * @returns {TrustedScriptURL | URL} what `new Worker` takes
 * @throws {TypeError} for anything else, where the browser has Trusted Types
 */
export function scriptAddress(url) {
  return policy ? policy.createScriptURL(url.href) : url;
}

function own(address) {
  const { origin, pathname, href } = new URL(address);
  if (origin === location.origin && pathname.endsWith(".js")) return href;
  throw new TypeError(`${href.slice(0, 80)} is no script of this site`);
}

/**
 * The site without a network: its pages, scripts and recordings are kept when it is first visited, what starts Python
 * when it is first fetched. All of one version: a file counts only with the hash in FILES, when it is kept and when what
 * is kept is sent, so that an old page never gets a new one's Python. Copies of the site on one origin see the same
 * caches: each reads and deletes those that end in its own address.
 *
 *   install   keeps the small files; what an older version has kept already is taken from there
 *   waiting   until the reader asks for the new version, or the last page of the old one is closed
 *   fetch     from what is kept, else from the network; other addresses (a runner's) are left alone
 *
 * Where a host sends no headers of its own, pages get those that let Stop interrupt Python, and the worker of cells its
 * policy.
 */

/* global FILES, CELLS_POLICY -- written in by web/site_builder/assets.py: sha256 and bytes of each file by its path (the first
   line, which `unfrozen publish` replaces), and the Content-Security-Policy of the worker */

const SMALL_BYTES = 400_000; // larger files, but for pages and their data, are kept when they are fetched
const LATER_MS = 2000; // copying and hashing what starts Python would take time from its start
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const ROOT = new URL("./", self.location.href).href;
const PREFIX = "unfrozen-site ";
const SUFFIX = ` ${ROOT}`; // an address has no spaces
const CACHE = sha256(new TextEncoder().encode(JSON.stringify(FILES))).then((version) => `${PREFIX}${version}${SUFFIX}`);

self.addEventListener("install", (event) => event.waitUntil(keepSmallFiles()));
self.addEventListener("activate", (event) => event.waitUntil(takeOver()));
self.addEventListener("message", ({ data }) => data === "take over" && self.skipWaiting());
self.addEventListener("fetch", (event) => {
  const path = pathOf(event.request);
  if (path.endsWith("/")) event.respondWith(Response.redirect(ROOT + path));
  else if (path) event.respondWith(answer(event, path));
  else if (event.request.method === "HEAD") event.respondWith(fetch(event.request).catch(() => new Response(null, { status: 204 })));
});

/** The file of the site that a request is for, or the folder that its address lacks the slash of; "" for neither. */
function pathOf({ method, url }) {
  const address = url.split(/[?#]/, 1)[0];
  if (method !== "GET" || !address.startsWith(ROOT)) return "";
  const path = address.slice(ROOT.length);
  const file = path === "" || path.endsWith("/") ? `${path}index.html` : path;
  if (Object.hasOwn(FILES, file)) return file;
  return Object.hasOwn(FILES, `${path}/index.html`) ? `${path}/` : "";
}

async function keepSmallFiles() {
  const names = Object.keys(FILES).filter((path) => /\.(html|json)$/.test(path) || FILES[path].bytes <= SMALL_BYTES);
  const older = await Promise.all((await olderCaches()).map((name) => caches.open(name)));
  for (let from = 0; from < names.length; from += 8) await Promise.all(names.slice(from, from + 8).map(keep));

  async function keep(path) {
    for (const cache of older) {
      const body = await verify(path, await cache.match(ROOT + path));
      if (body) return store(path, body);
    }
    const body = await verify(path, await fetch(ROOT + path, { cache: "no-cache" }));
    if (!body) throw new Error(`${path} is not of this version`);
    return store(path, body);
  }
}

async function olderCaches() {
  const current = await CACHE;
  return (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name.endsWith(SUFFIX) && name !== current);
}

async function takeOver() {
  for (const name of await olderCaches()) await caches.delete(name);
  await self.clients.claim();
}

async function answer(event, path) {
  const kept = await verify(path, await (await caches.open(await CACHE)).match(ROOT + path));
  if (kept) return withHeaders(kept, path);
  const isSmall = !path.endsWith(".html") && FILES[path].bytes <= SMALL_BYTES; // others are sent as they come
  const fetched = await fetch(event.request, isSmall ? { cache: "no-cache" } : {});
  if (!fetched.ok) return fetched;
  event.waitUntil(keepLater(path));
  return withHeaders(isSmall ? ((await verify(path, fetched)) ?? Response.error()) : fetched, path);
}

/** Keeps a file that was sent on a while ago, as the browser has it, if it is of this version. */
async function keepLater(path) {
  await new Promise((resolve) => setTimeout(resolve, LATER_MS));
  try {
    const found = await verify(path, await fetch(ROOT + path, { cache: "force-cache" }));
    if (found) await store(path, found);
  } catch {
    // it does not come, or there is no room: the next request fetches it again
  }
}

async function store(path, response) {
  return (await caches.open(await CACHE)).put(ROOT + path, response);
}

/** Returns a response with all of its body if that is the file of this version; else nothing. */
async function verify(path, response) {
  if (!response?.ok) return null;
  const body = await response.arrayBuffer();
  return (await sha256(body)) === FILES[path].sha256 ? new Response(body, response) : null;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function withHeaders(response, path) {
  if (!response.ok || !/\.(html|js)$/.test(path)) return response;
  const headers = new Headers(response.headers);
  headers.delete("content-encoding"); // the body is decoded
  headers.delete("content-length");
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value);
  if (path === "python/worker.js") headers.set("Content-Security-Policy", CELLS_POLICY);
  return new Response(response.body, { headers });
}

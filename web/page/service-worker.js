/**
 * The site without a network: its pages, scripts and recordings are kept when it is first visited, what starts Python
 * when it is first fetched. All of one version: a file counts only with the hash that the build has written here, so
 * that an old page never gets a new one's Python.
 *
 *   install   keeps the small files; what an older version has kept already is taken from there
 *   waiting   until the reader asks for the new version, or the last page of the old one is closed
 *   fetch     from what is kept, else from the network; other addresses (a runner's) are left alone
 *
 * Where a host sends no headers of its own, pages get those that let Stop interrupt Python, and the worker of cells its
 * policy.
 */

/* global FILES, VERSION, CELLS_POLICY -- written in by web/site_builder/assets.py: sha256 and bytes of each file by its
   path, their hash, and the Content-Security-Policy of the worker */

const KEPT = "unfrozen-site-";
const CACHE = `${KEPT}${VERSION}`;
const SMALL_BYTES = 400_000; // larger files, but for pages, are kept when they are fetched
const LATER_MS = 2000; // copying and hashing what starts Python would take time from its start
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const ROOT = new URL("./", self.location.href).href;

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
  const path = decodeURI(address.slice(ROOT.length));
  const file = path === "" || path.endsWith("/") ? `${path}index.html` : path;
  if (Object.hasOwn(FILES, file)) return file;
  return Object.hasOwn(FILES, `${path}/index.html`) ? `${path}/` : "";
}

async function keepSmallFiles() {
  const names = Object.keys(FILES).filter((path) => path.endsWith(".html") || FILES[path].bytes <= SMALL_BYTES);
  const [cache, older] = [await caches.open(CACHE), await keptBefore()];
  for (let from = 0; from < names.length; from += 8) await Promise.all(names.slice(from, from + 8).map(keep));

  async function keep(path) {
    for (const one of older) {
      const found = await one.match(ROOT + path);
      if (found && (await isOurs(path, await found.clone().arrayBuffer()))) return cache.put(ROOT + path, found);
    }
    const fetched = await fetch(ROOT + path, { cache: "no-cache" });
    const body = await fetched.clone().arrayBuffer();
    if (!fetched.ok || !(await isOurs(path, body))) throw new Error(`${path} is not of this version`);
    return cache.put(ROOT + path, fetched);
  }
}

async function keptBefore() {
  const names = (await caches.keys()).filter((name) => name.startsWith(KEPT) && name !== CACHE);
  return Promise.all(names.map((name) => caches.open(name)));
}

async function takeOver() {
  for (const name of await caches.keys()) if (name.startsWith(KEPT) && name !== CACHE) await caches.delete(name);
  await self.clients.claim();
}

async function answer(event, path) {
  const kept = await (await caches.open(CACHE)).match(ROOT + path);
  if (kept) return withHeaders(kept, path);
  const fetched = await fetch(event.request);
  if (!fetched.ok) return fetched;
  event.waitUntil(keepLater(path));
  return withHeaders(fetched, path);
}

/** Keeps a file that was sent on a while ago, as the browser has it, if it is of this version. */
async function keepLater(path) {
  await new Promise((resolve) => setTimeout(resolve, LATER_MS));
  try {
    const fetched = await fetch(ROOT + path, { cache: "force-cache" });
    if (await isOurs(path, await fetched.clone().arrayBuffer())) await (await caches.open(CACHE)).put(ROOT + path, fetched);
  } catch {
    // it does not come, or there is no room: the next request fetches it again
  }
}

async function isOurs(path, body) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  return FILES[path].sha256 === [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function withHeaders(response, path) {
  if (!/\.(html|js)$/.test(path)) return response;
  const headers = new Headers(response.headers);
  headers.delete("content-encoding"); // the body is decoded
  headers.delete("content-length");
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value);
  if (path === "python/worker.js") headers.set("Content-Security-Policy", CELLS_POLICY);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** Keeps the site for readers without a network, and offers a newer version when one is there; see service-worker.js. */

import { make, textButton } from "../figures/tools.js";
import { MARK, SITE, trustedAddress } from "./site.js";

const QUIET_MS = 3000; // after the page has loaded: nobody waits for this

/** Keeps the site, unless a runner serves it, which is on this machine anyway. */
export async function keepOffline() {
  if (!navigator.serviceWorker) return; // not a secure context, or switched off
  if (navigator.serviceWorker.controller) {
    // Another tab has taken a newer version: what this page still loads would be of that one.
    navigator.serviceWorker.addEventListener("controllerchange", () => offer(navigator.serviceWorker.controller));
  }
  await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  try {
    const { headers } = await fetch(SITE, { method: "HEAD", cache: "no-store" });
    if (headers.has(MARK)) return void (await forget());
  } catch {
    return; // no network: what is kept is at work already
  }
  try {
    const script = trustedAddress(new URL("service-worker.js", SITE));
    const options = { scope: SITE.href, updateViaCache: "none" };
    const registration = await navigator.serviceWorker.register(script, options);
    registration.addEventListener("updatefound", () => watch(registration));
    if (registration.waiting) offer(registration.waiting);
    else watch(registration);
  } catch {
    // storage is forbidden, or the host has no such file: the page needs its network
  }
}

/** A runner has taken the place of a static host: what that one left behind would hide newer pages. */
async function forget() {
  const all = await navigator.serviceWorker.getRegistrations();
  await Promise.all(all.filter(({ scope }) => scope === SITE.href).map((each) => each.unregister()));
}

function watch({ installing }) {
  installing?.addEventListener("statechange", () => {
    if (installing.state === "installed" && navigator.serviceWorker.controller) offer(installing);
  });
}

/** Offers a version that waits, or is here for other tabs; it is never taken without being asked for. */
function offer(worker) {
  document.querySelector(".version-note")?.remove();
  const later = textButton("button button-small", "Later", () => note.remove());
  const now = textButton("button button-small", "Reload", () => {
    if (worker.state !== "installed") return location.reload();
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    worker.postMessage("take over");
  });
  const note = make("div", { className: "version-note", role: "status" }, "A newer version of this page is here. ", now, later);
  document.body.append(note);
}

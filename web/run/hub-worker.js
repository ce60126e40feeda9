/**
 * The shared worker of all tabs: the hub, and the lock that tells the tabs whether it lives. A
 * worker of a cell cannot reach it: such workers have no `SharedWorker`.
 */

import { followLines } from "./event-stream.js";
import { Hub } from "./tabs/hub.js";

const NEVER = new Promise(() => {});
const lock = `unfrozen-hub-${crypto.randomUUID()}`;
const held = new Promise((resolve) => {
  void navigator.locks.request(lock, () => {
    resolve();
    return NEVER;
  });
});
const base = new URL("../", self.location.href); // of the site: addresses are as in the page
const hub = new Hub({
  follow: followLines,
  fetch: (path, options) => fetch(new URL(path, base), options),
  whenGone: (name) => navigator.locks.request(name, () => {}),
  lock,
});

self.addEventListener("connect", async ({ ports: [port] }) => {
  await held; // or a tab would take the lock first
  hub.connect(port);
});

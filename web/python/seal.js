/**
 * Takes the network, storage and code-making tools away from the worker once Python runs in it.
 *
 * Reader code is Python and reaches JavaScript only through what Pyodide was given (`jsGlobals`).
 * This is the second wall: even code that climbs to the global object finds nothing to talk to.
 * The first is the Content-Security-Policy of the server; a plain file host sends none.
 */

const TAKEN_AWAY = [
  "fetch", "XMLHttpRequest", "WebSocket", "WebTransport", "EventSource", "BroadcastChannel",
  "indexedDB", "caches", "CacheStorage", "cookieStore", "importScripts", "eval",
  "Worker", "SharedWorker", "Notification", "PushManager", "FileReader", "RTCPeerConnection",
];

/** The object Pyodide takes for `globalThis`: timers, which its event loop needs, and no more. */
export function jsGlobals() {
  const names = ["setTimeout", "clearTimeout", "setInterval", "clearInterval"];
  const timers = names.map((name) => [name, self[name].bind(self)]);
  return Object.assign(Object.create(null), Object.fromEntries(timers));
}

/** Remove the tools from the global object and from the prototypes it inherits them from. */
export function seal() {
  for (const name of TAKEN_AWAY) {
    for (let owner = self; owner; owner = Object.getPrototypeOf(owner)) delete owner[name];
    if (name in self) Object.defineProperty(self, name, { value: undefined });
  }
  for (const name of ["storage", "serviceWorker", "sendBeacon", "locks"]) {
    delete Object.getPrototypeOf(self.navigator)[name];
  }
}

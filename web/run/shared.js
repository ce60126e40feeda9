/**
 * What this tab shares with the others: one hub holds the connections to the server for all of them
 * (`tabs/hub.js`). Where a browser has no shared worker or no locks, a tab has a hub of its own.
 */

import { Link } from "./tabs/link.js";
import { scriptAddress } from "../python/script-address.js";
import { parseLines } from "./log-lines.js";

const NAME = "unfrozen-runs";
const MOST_FAILURES = 2; // of shared workers that never said a word; then the tab helps itself
const NEVER = new Promise(() => {});

const canShare = Boolean(navigator.locks && window.SharedWorker);
const lock = canShare ? `${NAME}-${crypto.randomUUID()}` : "";

/** The one link of this tab. */
export const link = new Link({
  connect,
  lock,
  hold: () => new Promise((held) => navigator.locks.request(lock, () => (held(), NEVER))),
  whenGone: (name) => navigator.locks.request(name, () => {}),
  isAwake: () => !document.hidden,
});

document.addEventListener("visibilitychange", () => link.awake(!document.hidden));
addEventListener("pagehide", () => link.bye());
addEventListener("pageshow", ({ persisted }) => persisted && link.again());

/** @param {import("./tabs/link.js").Tried} tried */
function connect({ hung, failures, welcomed }) {
  if (!canShare || (!welcomed && failures >= MOST_FAILURES)) return ownHub();
  try {
    const url = new URL("../run/hub-worker.js", import.meta.url);
    const worker = new SharedWorker(scriptAddress(url), { type: "module", name: hung ? `${NAME}-${hung}` : NAME });
    const broken = new Promise((resolve) => worker.addEventListener("error", () => resolve()));
    return { port: worker.port, broken };
  } catch {
    return ownHub(); // the browser refuses it here
  }
}

function ownHub() {
  const { port1, port2 } = new MessageChannel();
  const open = async () => {
    const [{ Hub }, { followLines }] = await Promise.all([import("./tabs/hub.js"), import("./event-stream.js")]);
    const effects = { follow: followLines, fetch: fetch.bind(window), whenGone: () => NEVER, lock: "" };
    new Hub(effects).connect(port2);
  };
  return { port: port1, broken: open().then(() => NEVER) };
}

/**
 * Follows one run of the server until it is over, the server refuses, or `signal` aborts.
 * @param {object} source
 * @param {string} source.run id
 * @param {AbortSignal} source.signal
 * @param {(events: object[], skipped: number) => void} source.onEvents every batch, in order
 * @param {(state: import("./event-stream.js").StreamState) => void} source.onState
 * @param {() => void} source.onRestart the log is not the one we read: begin again from nothing
 * @param {(alive: "yes" | "no" | "unknown") => void} source.onWriter whether the trainer lives
 * @param {(caughtUp: boolean) => void} source.onCaughtUp whether all that the log holds was read
 */
export function followRun({ onEvents, ...source }) {
  link.follow({
    ...source,
    onLines: (texts, skipped) => {
      const { events, damaged } = parseLines(texts);
      onEvents(events, skipped + damaged);
    },
  });
}

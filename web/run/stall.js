/**
 * Is the *trainer* well? The connection is another matter. A trainer promises with each `beat` when
 * it will be heard next, and the server can see whether its process still holds the log open.
 */

import { silentAfter } from "./schema.js";

/**
 * @param {ReturnType<typeof import("./fold.js").emptyRun>} run
 * @param {"yes" | "no" | "unknown"} writer whether a process holds the log open
 * @param {number} now Unix seconds, on the same machine as the trainer
 * @returns {"waiting" | "running" | "paused" | "stalled" | "gone" | "ended"}
 */
export function healthOf(run, writer, now) {
  if (run.end) return "ended";
  if (run.events === 0) return "waiting";
  if (writer === "no") return "gone";
  if (now - run.lastTime > silentAfter(run.beat?.expectNextIn)) return "stalled";
  return run.beat?.paused ? "paused" : "running";
}

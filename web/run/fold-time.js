/**
 * How long a run has taken and how long it still takes, by the clock of its own events. Time between
 * two attempts does not count, and standing still on request is no pace.
 */

/** @typedef {ReturnType<typeof newTime>} RunTime */

/** The state before the first event; seconds. */
export function newTime() {
  return {
    elapsed: 0,
    left: null, // at the pace of this attempt; null while nothing can be told
    before: 0, // elapsed in earlier attempts
    from: null, // when this attempt began
    pace: null, // {step, t}: its first step
    held: 0, // of that on request
    heldSince: null,
  };
}

/**
 * Takes the time of one event.
 * @param {ReturnType<typeof import("./fold.js").emptyRun>} run
 */
export function takeTime(run, { kind, t, step, paused }) {
  const { time } = run;
  if (!Number.isFinite(t)) return;
  if (kind === "run.resume" || time.from === null) begin(time, t);
  time.elapsed = time.before + Math.max(0, t - time.from);
  if (kind === "beat") hold(time, t, paused === true);
  if (kind === "metrics") time.pace ??= { step, t };
  time.left = leftOf(time, t, step, run.plan.steps);
}

function begin(time, t) {
  Object.assign(time, { before: time.elapsed, from: t, pace: null, held: 0, heldSince: null });
}

function hold(time, t, paused) {
  if (paused) time.heldSince ??= t;
  else if (time.heldSince !== null) {
    time.held += t - time.heldSince;
    time.heldSince = null;
  }
}

function leftOf({ pace, held, heldSince }, t, step, steps) {
  if (!pace || !(step > pace.step) || !(steps >= step)) return null;
  const worked = (heldSince ?? t) - pace.t - held;
  return worked > 0 ? (worked / (step - pace.step)) * (steps - step) : null;
}

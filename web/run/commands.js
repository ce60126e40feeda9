/**
 * The commands that a page may send to a run, and how far one has come. Pure: state in, text out.
 *
 *   none ──click──▶ sent ──202──▶ taken ──obeyed──▶ done       the run reports it in a beat
 *                    └──4xx──▶ refused     └──run.end, run.resume──▶ late
 *
 * A run that was stopped or killed, failed or ran out of memory can be restarted: that is done when its
 * log continues.
 */

import { isImported } from "./fold.js";
import { isResumable } from "./schema.js";

const NAMES = { pause: "pause", resume: "resume", checkpoint: "be saved", evaluate: "be evaluated", stop: "stop" };
const GONE = "The server does not answer. The run continues without it, and cannot be controlled now.";

/**
 * @typedef {object} Asked a command on its way, or the newest one that came to an end
 * @property {"pause" | "resume" | "checkpoint" | "evaluate" | "stop"} command
 * @property {string} run id
 * @property {number} attempts how often the run had been resumed when it was asked
 * @property {number | null} seq its number, once the server took it
 * @property {string} problem the server's reason for refusing it, or ""
 * @property {boolean} again whether the run was over and is to be started again
 * @property {boolean} answered whether the server has answered
 */

/**
 * @param {object} view
 * @param {ReturnType<typeof import("./fold.js").emptyRun>} view.run
 * @param {string} view.kind of the source: only a live run can be asked for something
 * @param {string} view.health
 * @param {string} view.stream
 * @param {string} view.runner state of the runner
 * @param {Asked | null} view.asked
 * @param {import("./control.js").Started | null} view.started the newest start from a page
 * @returns {{shown: boolean, ready: boolean, paused: boolean, again: boolean, loading: boolean, can: string[] | null, status: string}}
 *   are there buttons, may they be pressed, does the first one resume, is it the only one, does it cancel
 *   that instead, which commands a watched loop supports (null: all), and the text of the line beneath them
 */
export function commandState(view) {
  const { run, kind, health } = view;
  const asked = view.asked?.run === run.run ? view.asked : null;
  const lives = kind === "live" && run.events > 0 && !run.end && health !== "gone";
  const ours = !run.start?.trainer && !isImported(run); // others are started by who trains them
  const again = kind === "live" && ours && !lives && isResumable(health === "gone" ? "gone" : run.status);
  const paused = run.beat?.paused === true && lives;
  const answers = view.runner === "live" && (again || !["gone", "refused"].includes(view.stream));
  const starting = view.started?.alive === true || (asked?.again && !asked.answered);
  const busy = again ? starting : asked !== null && isOnItsWay(asked, run);
  const loading = again && isLoading(view.started) && view.started.name === run.run;
  const shown = lives || again;
  const other = again && view.started?.alive && view.started.name !== run.run && view.started.run !== run.run;
  const own = asked?.again ? restartText(asked, lives, view.started) : progressText(asked, run, lives);
  const text = other ? oneAtATime(view.started) : own;
  const ready = shown && answers && (!busy || loading);
  return { shown, ready, paused, again, loading, can: run.start?.can ?? null, status: shown && !answers ? GONE : text };
}

/** A run that is started again: refused, on its way, failed, or there. */
function restartText({ problem, run, answered }, lives, started) {
  if (lives) return "";
  if (problem) return problem;
  if (!answered || started?.alive) return "Restarting: it loads its newest checkpoint.";
  if (started?.name !== run) return "";
  return started.run ? "" : `It did not start: ${started.lines.at(-1) ?? "it printed nothing"}`;
}

/** Whether the run has yet to obey. */
export function isOnItsWay(asked, run) {
  if (asked.problem || run.end || run.attempts.length > asked.attempts) return false;
  return asked.seq === null || asked.command === "stop" || (run.beat?.heard ?? 0) < asked.seq;
}

function progressText(asked, run, lives) {
  if (asked === null) return "";
  if (asked.problem) return asked.problem;
  if (!lives) return endText(asked, run);
  if (run.attempts.length > asked.attempts) {
    return `The run was resumed before it could ${NAMES[asked.command]}: ask again.`;
  }
  return isOnItsWay(asked, run) ? waitingFor(asked.command, run) : doneWith(asked.command, run);
}

/** The run is over: as it was asked to, or before it could do what it was asked. */
function endText({ command }, run) {
  if (run.end && command === "stop" && run.status === "stopped") return "";
  return `The run ended before it could ${NAMES[command]}.`;
}

function waitingFor(command, run) {
  const first = run.beat?.paused ? "" : " The step in progress is finished first.";
  return `Asked to ${NAMES[command]}.${first}`;
}

function doneWith(command, run) {
  const saved = run.checkpoint ? `Step ${run.checkpoint.step} is saved.` : "Nothing to save yet.";
  const texts = { pause: "", resume: "Training resumed.", checkpoint: saved, evaluate: "Evaluated." };
  return texts[command] ?? "";
}

/**
 * Returns the state of the form that launches a run.
 * @param {object} view
 * @param {string} view.runner state of the runner
 * @param {import("./control.js").Started | null} view.started
 * @param {boolean} view.busy whether a start is on its way to the server
 * @param {string} view.problem why the newest one was refused
 * @returns {{ready: boolean, loading: boolean, status: string, lines: string[], bad: boolean}}
 */
export function launchState({ runner, started, busy, problem }) {
  const loading = runner === "live" && !busy && isLoading(started);
  const state = (ready, status, lines = [], bad = false) => ({ ready, loading, status, lines, bad });
  if (runner !== "live") return state(false, "The server does not answer: nothing can be started now.");
  if (busy) return state(false, "Sending the command.");
  if (problem) return state(!started?.alive, problem, [], true);
  if (!started) return state(true, "");
  if (isLoading(started)) {
    return state(false, `Starting ${started.name}: it loads its model and its data.`);
  }
  if (started.alive) {
    return state(false, oneAtATime(started));
  }
  if (started.run) return state(true, "");
  const code = started.code === null ? "" : `, with exit code ${started.code}`;
  const text = `${started.name} ended before its first event${code}. Its last lines:`;
  return state(true, text, started.lines, true);
}

/** Whether what was started has no run yet, and can be cancelled. */
function isLoading(started) {
  return started?.alive === true && !started.run;
}

function oneAtATime({ name }) {
  return `${name} is running. Only one run at a time can be started from here.`;
}

/**
 * What a run view reports: a notice for every state it can be in, with what it means and what to do, and announcements for
 * screen readers. Pure: state in, text out.
 */

import { quoteForShell, withRuns } from "./command-line.js";
import { formatDate, formatDelta, formatLoss, formatTime } from "../figures/number.js";
import { stalledAfter, suiteLabel } from "../schema/schema.js";
import { POLL_MS } from "./event-stream.js";
import { firstStep, isData, isImported } from "./fold.js";

/**
 * @typedef {object} Notice
 * @property {"quiet" | "good" | "warn" | "bad"} tone
 * @property {string} title two or three words
 * @property {string} text one or two sentences
 * @property {string[]} commands what to type in a terminal
 */

const [SERVE, TRAIN] = ["unfrozen serve", "unfrozen train --model demo"].map(withRuns);
const [quiet, good, warn, bad] = ["quiet", "good", "warn", "bad"].map((tone) => (title, text, ...commands) => ({ tone, title, text, commands }));
const REFUSED = bad("Access denied", "The server was restarted and has a new token. Open the address it printed.");

/** What is said where no run is shown, by the state of the runner. */
const NOTHING = {
  live: quiet("No run yet", "The runner is ready and has no run yet. Start one, and it appears here.", TRAIN),
  connecting: quiet("Connecting", "Asking the runner for its runs."),
  gone: warn("Server gone", "The server that this page came from does not answer. Start it again.", SERVE),
  refused: REFUSED,
  keyless: warn(
    "No token in this address",
    "A runner serves this page, but this address has no token, so its runs cannot be read. Open the " +
      "address that the server printed when it started: it ends in #t= and the token.",
  ),
  absent: quiet(
    "No runner",
    "This copy of the page is not connected to a runner. Choose a recorded run, open a log file, or serve the page from your own machine.",
    SERVE,
  ),
};

/** What is said of a live run, by the state of the stream. */
const STREAMS = {
  refused: REFUSED,
  gone: warn(
    "Server gone",
    "The server does not answer, so this page is not updated. Training continues without it. " +
      "Start the server again, and the page continues where it stopped.",
    SERVE,
  ),
  connecting: quiet("Connecting", "Asking the runner for this run."),
};

/**
 * @param {object} view
 * @param {ReturnType<typeof import("./fold.js").emptyRun>} view.run
 * @param {import("./watch.js").Source} view.source
 * @param {string} view.stream
 * @param {"waiting" | "running" | "paused" | "stalled" | "gone" | "ended"} view.health
 * @param {string} view.runner state of the runner
 * @param {import("./control.js").Started | null} [view.started] the newest launch from a page
 * @param {string} view.problem
 * @param {string} [view.progress] how much of a large file has been read
 * @param {boolean} [view.shared] whether other windows hold the open connections, and this one polls
 * @param {number | null} [view.readPercent] how much of a log that grows faster than it is read has been read
 * @param {boolean} [view.reading] whether the log has not been read to its end yet
 * @returns {Notice}
 */
export function makeNotice(view) {
  return connectionNotice(view) ?? lifeNotice(view) ?? endNotice(view) ?? replayNotice(view);
}

function connectionNotice({ source, stream, runner, started, problem, run, reading, readPercent, progress }) {
  if (stream === "unreadable") return bad("Not readable", /[.!?]$/.test(problem) ? problem : `${problem}.`);
  if (source.kind === "none") {
    const isStarting = runner === "live" && started?.alive && !started.run;
    return isStarting ? quiet("Starting", "The run appears here with its first event.") : (NOTHING[runner] ?? NOTHING.absent);
  }
  if (stream === "loading") return quiet("Reading", `Reading ${source.name}. ${progress ?? ""}`.trim());
  if (source.kind === "live" && reading && ["outlined", "live", "back"].includes(stream)) return quiet("Reading", "Reading the log…");
  if (source.kind !== "live" || run.end) return null;
  if (typeof readPercent === "number" && ["live", "back"].includes(stream)) {
    const text =
      `This page has read ${readPercent}% of the log, up to step ${run.step}. The log grows faster than it is read, so ` +
      "the run itself is further, or over.";
    return warn("Behind", text);
  }
  if (stream === "missing") return warn("Run removed", `The runner has no run ${source.name} any more. Choose another one.`);
  return STREAMS[stream] ?? null;
}

function lifeNotice({ run, health, stream }) {
  if (health === "gone") {
    const text =
      `The training process ended after step ${run.step} without logging its end: it was killed, or ` +
      `the machine went down. The log is complete up to then.${restartText(run)}`;
    return bad("Trainer gone", text, ...resumeCommands(run));
  }
  if (health === "stalled") {
    const text =
      `No event since ${formatTime(run.lastTime)}, though the trainer promised a heartbeat every ` +
      `${run.beat?.expectNextIn ?? 30} s. Its process still runs; a long step or a suspended machine looks like this.`;
    return warn("Stalled", text);
  }
  if (health === "paused") {
    return quiet("Paused", `Training is paused after step ${run.step}, as requested from a page. Everything stays in memory until it is resumed.`);
  }
  return stream === "back" ? good("Back", "The server answers again. Nothing was missed in between.") : null;
}

/** Returns the command that resumes a run of `unfrozen train` that has a checkpoint. */
function resumeCommands(run) {
  if (!run.checkpoint || run.start?.trainer) return [];
  const processes = run.start?.hardware?.processes;
  const several = Number.isInteger(processes) && processes > 1;
  const start = several ? `torchrun --nproc-per-node ${processes} -m gpu_runner` : "unfrozen";
  return [`${withRuns(`${start} resume`)} ${quoteForShell(run.run)}`];
}

/** Returns how a run of another trainer goes on. */
function restartText({ start, checkpoint }) {
  if (!start?.trainer) return "";
  return ` To go on, start its trainer (${start.trainer}) again${checkpoint ? ` from ${checkpoint.path}` : ""}.`;
}

function endNotice({ run, source }) {
  if (!run.end) return null;
  if (isImported(run)) return importedNotice(run);
  const reason = run.end.reason ? ` ${sentence(run.end.reason)}` : "";
  const { time } = run.end;
  const isHere = source.kind === "live";
  const [why, again] = isHere ? [[`${withRuns("unfrozen check")} ${quoteForShell(run.run)}`], resumeCommands(run)] : [[], []];
  const early = `${reason}${isHere ? restartText(run) : ""}`;
  const when = ["live", "page"].includes(source.kind) ? `At ${formatTime(time)}` : `On ${formatDate(time)}`;
  if (run.nonFinite !== null && run.status !== "finished") {
    return bad("Diverged", `The loss became NaN or infinite at step ${run.nonFinite}.${reason}`, ...why);
  }
  if (run.status === "failed" && run.end.reason.startsWith("it diverged")) return bad("Diverged", `At step ${run.step}.${reason}`, ...why);
  const notices = {
    finished: good("Finished", `${when}, after ${run.step} steps.`),
    stopped: quiet("Stopped", `${when}, after step ${run.step}.${early}`, ...again),
    failed: bad("Failed", `At step ${run.step}.${early}`, ...why, ...again),
    oom: bad("Out of memory", `At step ${run.step}.${early}`, ...why, ...again),
  };
  return notices[run.status] ?? quiet(String(run.status), reason);
}

/** Returns the notice of a finished run of another tool, whose log may have no status and no date. */
function importedNotice(run) {
  const text = `${run.step} steps, as logged by ${run.start.tool}.`;
  if (run.status === "finished") return good("Finished", text);
  const whole = run.end.reason ? `${text} ${sentence(run.end.reason)}` : text;
  return run.status === "failed" ? bad("Failed", whole) : quiet("Imported", whole);
}

function replayNotice({ run, source, shared, stream }) {
  if (isData(run)) return quiet("Data", "As a model will read them. Nothing has been trained yet.");
  if (run.nonFinite !== null) return bad("Diverging", `The training loss has been NaN or infinite since step ${run.nonFinite}.`);
  if (source.kind === "live") return good("Live", liveText(run, shared));
  if (source.kind === "page") return good("Training", pageText(run));
  if (stream === "playing") return quiet("Playing", "A recorded run, from its first step to its last.");
  return quiet("Unfinished log", `This log ends at step ${run.step} without the end of the run.`);
}

function pageText(run) {
  const steps = run.plan.steps ? ` of ${run.plan.steps}` : "";
  return run.step ? `Step ${run.step}${steps}, in this page.` : "Evaluating before the first step.";
}

function liveText(run, shared) {
  if (run.events === 0) return "Connected. Waiting for the first events.";
  const steps = run.plan.steps ? ` of ${run.plan.steps}` : "";
  const when = shared
    ? `Other windows of this browser hold the open connections, so this one updates every ${POLL_MS / 1000} seconds.`
    : "Events appear here as they are written.";
  return `Step ${run.step}${steps}. ${doingText(run.beat)}${when}`;
}

/** What takes time instead of steps: "Evaluating, 40%. ". */
function doingText(beat) {
  if (!beat?.doing) return "";
  const share = beat.done ? `, ${Math.round(100 * beat.done)}%` : "";
  return `${sentence(`${beat.doing}${share}`)} `;
}

/** Returns a text with a capital and a full stop. */
export function sentence(text) {
  const trimmed = String(text).trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/**
 * @param {ReturnType<typeof import("./fold.js").emptyRun>} run
 * @param {"yes" | "no" | "unknown"} writer whether a process has the log open
 * @param {number} now Unix seconds, on the same machine as the trainer
 * @returns {"waiting" | "running" | "paused" | "stalled" | "gone" | "ended"}
 */
export function judgeHealth(run, writer, now) {
  if (run.end) return "ended";
  if (run.events === 0) return "waiting";
  if (writer === "no") return "gone";
  if (now - run.lastTime > stalledAfter(run.beat?.expectNextIn)) return "stalled";
  return run.beat?.paused ? "paused" : "running";
}

const ANNOUNCEMENT_GAP_MS = 5000; // between two announced evaluations
const BRIEF_STATES = ["Connecting", "Reading", "Starting"];

/**
 * Announcements of a run view: that a run begins, was evaluated, has an alert, changes its state or ends. Steps are not
 * announced.
 */
export class Announcements {
  #run = "";
  #title = "";
  #alerts = 0;
  #step = -1; // of the newest evaluation that was announced
  #announcedAt = -Infinity;

  /**
   * @param {ReturnType<typeof import("./fold.js").emptyRun>} run
   * @param {Notice} notice
   * @param {number} now milliseconds
   * @returns {string} what to announce now; "" for nothing
   */
  next(run, notice, now) {
    if (BRIEF_STATES.includes(notice.title)) return "";
    if (run.run !== this.#run) this.#startRun(run);
    const texts = [...this.#alertsOf(run), ...this.#evaluationOf(run, now), ...this.#stateOf(notice)];
    return texts.join(" ");
  }

  /** Skips what a run had logged before it was opened. */
  #startRun(run) {
    this.#run = run.run;
    this.#title = "";
    this.#alerts = run.alertCount;
    this.#step = newestEvaluation(run);
  }

  #alertsOf({ alerts, alertCount }) {
    const fresh = alertCount - this.#alerts;
    this.#alerts = alertCount;
    if (fresh <= 0) return [];
    const more = fresh > 1 ? `${fresh} alerts, the newest: ` : "Alert: ";
    return [`${more}${alerts.at(-1)?.text}.`];
  }

  #evaluationOf(run, now) {
    const step = newestEvaluation(run);
    if (step <= this.#step || (now - this.#announcedAt < ANNOUNCEMENT_GAP_MS && !run.end)) return [];
    this.#step = step;
    this.#announcedAt = now;
    const scores = ["task", "general"].filter((suite) => run.evals[suite]?.x.at(-1) === step);
    const changes = scores.map((suite) => {
      const { y, delta } = run.evals[suite];
      return `${suiteLabel(suite)} loss ${formatLoss(y.at(-1))}, ${formatDelta(delta.at(-1))} since step ${firstStep(run, run.evals[suite])}.`;
    });
    return [`Evaluated at step ${step}.`, ...changes];
  }

  #stateOf({ title, text }) {
    if (title === this.#title) return [];
    this.#title = title;
    return [`${title}. ${text}`];
  }
}

function newestEvaluation({ evals }) {
  return Math.max(-1, ...Object.values(evals).map(({ x }) => x.at(-1) ?? -1));
}

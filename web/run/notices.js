/**
 * What a run view reports: a notice for every state it can be in, with what it means and what to do, and announcements for
 * screen readers. Pure: state in, text out.
 */

import { formatDate, formatDelta, formatLoss, formatTime } from "../figures/number.js";
import { stalledAfter, suiteLabel } from "../schema/schema.js";
import { POLL_MS } from "./event-stream.js";
import { firstStep, isData, isImported } from "./fold.js";

/**
 * @typedef {object} Notice
 * @property {"quiet" | "good" | "warn" | "bad"} tone
 * @property {string} title two or three words
 * @property {string} text one or two sentences
 * @property {string} [command] something to type in a terminal
 */

const SERVE = "unfrozen serve";
const TRAIN = "unfrozen train --model demo";

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
  if (stream === "unreadable") {
    return { tone: "bad", title: "Not readable", text: /[.!?]$/.test(problem) ? problem : `${problem}.` };
  }
  if (source.kind === "none") return nothingNotice(runner, started);
  if (stream === "loading") {
    return { tone: "quiet", title: "Reading", text: `Reading ${source.name}. ${progress ?? ""}`.trim() };
  }
  if (source.kind === "live" && reading && ["outlined", "live", "back"].includes(stream)) {
    return { tone: "quiet", title: "Reading", text: "Reading the log…" };
  }
  if (source.kind !== "live" || run.end) return null;
  if (typeof readPercent === "number" && ["live", "back"].includes(stream)) {
    const text =
      `This page has read ${readPercent}% of the log, up to step ${run.step}. The log grows faster than it is read, so ` +
      "the run itself is further, or over.";
    return { tone: "warn", title: "Behind", text };
  }
  if (stream === "refused") {
    const text = "The server was restarted and has a new token. Open the address it printed.";
    return { tone: "bad", title: "Access denied", text };
  }
  if (stream === "missing") {
    const text = `The runner has no run ${source.name} any more. Choose another one.`;
    return { tone: "warn", title: "Run removed", text };
  }
  if (stream === "gone") {
    const text =
      "The server does not answer, so this page is not updated. Training continues without it. " +
      "Start the server again, and the page continues where it stopped.";
    return { tone: "warn", title: "Server gone", text, command: SERVE };
  }
  if (stream === "connecting") {
    return { tone: "quiet", title: "Connecting", text: "Asking the runner for this run." };
  }
  return null;
}

function nothingNotice(runner, started) {
  if (runner === "live" && started?.alive && !started.run) {
    return { tone: "quiet", title: "Starting", text: "The run appears here with its first event." };
  }
  if (runner === "live") {
    const text = "The runner is ready and has no run yet. Start one, and it appears here.";
    return { tone: "quiet", title: "No run yet", text, command: TRAIN };
  }
  if (runner === "connecting") {
    return { tone: "quiet", title: "Connecting", text: "Asking the runner for its runs." };
  }
  if (runner === "gone") {
    const text = "The server that this page came from does not answer. Start it again.";
    return { tone: "warn", title: "Server gone", text, command: SERVE };
  }
  if (runner === "refused") {
    const text = "The server was restarted and has a new token. Open the address it printed.";
    return { tone: "bad", title: "Access denied", text };
  }
  if (runner === "keyless") {
    const text =
      "A runner serves this page, but this address has no token, so its runs cannot be read. Open the " +
      "address that the server printed when it started: it ends in #t= and the token.";
    return { tone: "warn", title: "No token in this address", text };
  }
  const text =
    "This copy of the page is not connected to a runner. Choose a recorded run, open a log file, or " +
    "serve the page from your own machine.";
  return { tone: "quiet", title: "No runner", text, command: SERVE };
}

function lifeNotice({ run, health, stream }) {
  if (health === "gone") {
    const text =
      `The training process ended after step ${run.step} without logging its end: it was killed, or ` +
      "the machine went down. The log is complete up to then.";
    return { tone: "bad", title: "Trainer gone", text, command: resumeCommand(run) };
  }
  if (health === "stalled") {
    const text =
      `No event since ${formatTime(run.lastTime)}, though the trainer promised a heartbeat every ` +
      `${run.beat?.expectNextIn ?? 30} s. Its process still runs; a long step or a suspended ` +
      "machine looks like this.";
    return { tone: "warn", title: "Stalled", text };
  }
  if (health === "paused") {
    const text =
      `Training is paused after step ${run.step}, as requested from a page. Everything stays in memory ` +
      "until it is resumed.";
    return { tone: "quiet", title: "Paused", text };
  }
  if (stream === "back") {
    const text = "The server answers again. Nothing was missed in between.";
    return { tone: "good", title: "Back", text };
  }
  return null;
}

function resumeCommand(run) {
  if (!run.checkpoint) return undefined;
  const processes = run.start?.hardware?.processes;
  const several = Number.isInteger(processes) && processes > 1;
  const start = several ? `torchrun --nproc-per-node ${processes} -m gpu_runner` : "unfrozen";
  return `${start} resume ${quoteForShell(run.run)}`;
}

/** Quotes a name for a shell; it is never read as an option. */
function quoteForShell(name) {
  const quoted = /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
  return name.startsWith("-") ? `-- ${quoted}` : quoted;
}

function endNotice({ run, source }) {
  if (!run.end) return null;
  if (isImported(run)) return importedNotice(run);
  const reason = run.end.reason ? ` ${sentence(run.end.reason)}` : "";
  const { time } = run.end;
  const when = ["live", "page"].includes(source.kind) ? `At ${formatTime(time)}` : `On ${formatDate(time)}`;
  if (run.nonFinite !== null && run.status !== "finished") {
    const text = `The loss became NaN or infinite at step ${run.nonFinite}.${reason}`;
    return { tone: "bad", title: "Diverged", text };
  }
  if (run.status === "failed" && run.end.reason.startsWith("it diverged")) {
    return { tone: "bad", title: "Diverged", text: `At step ${run.step}.${reason}` };
  }
  const notices = {
    finished: { tone: "good", title: "Finished", text: `${when}, after ${run.step} steps.` },
    stopped: {
      ...{ tone: "quiet", title: "Stopped", text: `${when}, after step ${run.step}.${reason}` },
      command: source.kind === "live" ? resumeCommand(run) : undefined,
    },
    failed: { tone: "bad", title: "Failed", text: `At step ${run.step}.${reason}` },
    oom: { tone: "bad", title: "Out of memory", text: `At step ${run.step}.${reason}` },
  };
  return notices[run.status] ?? { tone: "quiet", title: String(run.status), text: reason };
}

/** Returns the notice of a finished run of another tool, whose log may have no status and no date. */
function importedNotice(run) {
  const text = `${run.step} steps, as logged by ${run.start.tool}.`;
  if (run.status === "finished") return { tone: "good", title: "Finished", text };
  const whole = run.end.reason ? `${text} ${sentence(run.end.reason)}` : text;
  const [tone, title] = run.status === "failed" ? ["bad", "Failed"] : ["quiet", "Imported"];
  return { tone, title, text: whole };
}

function replayNotice({ run, source, shared, stream }) {
  if (isData(run)) return { tone: "quiet", title: "Data", text: "As a model will read them. Nothing has been trained yet." };
  if (run.nonFinite !== null) {
    const text = `The training loss has been NaN or infinite since step ${run.nonFinite}.`;
    return { tone: "bad", title: "Diverging", text };
  }
  if (source.kind === "live") return { tone: "good", title: "Live", text: liveText(run, shared) };
  if (source.kind === "page") return { tone: "good", title: "Training", text: pageText(run) };
  if (stream === "playing") return { tone: "quiet", title: "Playing", text: "A recorded run, from its first step to its last." };
  const text = `This log ends at step ${run.step} without the end of the run.`;
  return { tone: "quiet", title: "Unfinished log", text };
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

function sentence(text) {
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

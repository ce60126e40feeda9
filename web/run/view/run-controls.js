/**
 * The elements that control runs. `<run-commands>` pauses, resumes, saves or stops the run that is shown, or restarts it;
 * `<run-ask>` prompts the model: a run that trains
 * answers between two steps, in its log, and of a run that has ended the server loads the model before and the one after;
 * `<run-blend>` is the way back of a run that has ended. They are loaded only where the server allows control. A disabled
 * button keeps its focus (aria-disabled), and the line below it gives the reason.
 *
 * How far a command has come:
 *
 *   none ──click──▶ sent ──202──▶ accepted ──obeyed──▶ done      the run reports it in a heartbeat
 *                    └──4xx──▶ refused         └──run.end, run.resume──▶ too late
 *
 * A run that was stopped or killed, failed or ran out of memory can be restarted: that is done when its log continues.
 */

import { isResumable } from "../../schema/schema.js";
import { make, put, textButton } from "../../figures/tools.js";
import { control } from "../control.js";
import { canBlend, isImported } from "../fold.js";

export class RunCommands extends HTMLElement {
  #parts = null;
  #view = null;
  /** @type {Command | null} */
  #sent = null;
  #isConfirming = false;

  connectedCallback() {
    if (this.#parts) return;
    this.#build();
    control.addEventListener("change", () => this.#view && this.#draw());
  }

  /** Draws the buttons for the state of the view: `{run, kind, health, stream, runner}`. */
  show(view) {
    this.#view = view;
    if (this.#parts) this.#draw();
  }

  #build() {
    const pause = button("Pause", () => this.#send(pause.dataset.command));
    const save = button("Save checkpoint", () => this.#send("checkpoint"));
    const evaluate = button("Evaluate now", () => this.#send("evaluate"));
    const stop = button("Stop…", () => this.#confirm(true));
    const really = button("Stop the run", () => this.#confirm(false) || this.#send("stop"));
    const keep = button("Keep training", () => this.#confirm(false));
    really.classList.add("run-command-stop");
    const buttons = group("Control of this run", pause, save, evaluate, stop);
    const question = make("span", { className: "soft" }, "Stop after this step? A checkpoint is saved, and the run can be resumed later.");
    const confirmation = group("Stop the run?", question, really, keep);
    confirmation.addEventListener("keydown", ({ key }) => key === "Escape" && this.#confirm(false));
    const status = statusLine();
    this.#parts = { pause, save, evaluate, stop, really, keep, buttons, confirmation, status };
    this.replaceChildren(buttons, confirmation, status);
  }

  #draw() {
    const { pause, save, evaluate, stop, buttons, confirmation, status } = this.#parts;
    const { shown, ready, paused, again, loading, can, status: text } = this.#state();
    if (!shown || again) this.#isConfirming = false;
    buttons.hidden = !shown || this.#isConfirming;
    confirmation.hidden = !shown || !this.#isConfirming;
    const label = loading ? "Cancel" : paused || again ? "Resume" : "Pause";
    put(pause, label);
    pause.dataset.command = label.toLowerCase();
    save.hidden = evaluate.hidden = stop.hidden = again;
    const commands = [[pause, "pause"], [save, "checkpoint"], [evaluate, "evaluate"], [stop, "stop"], [this.#parts.really, "stop"]];
    for (const [one, command] of commands) {
      const isSupported = can === null || can.includes(command);
      one.ariaDisabled = String(!ready || !isSupported);
      one.title = isSupported ? "" : "The loop that trains this run does not support that command.";
    }
    put(status, text);
    this.hidden = !shown && !text;
  }

  /** Shows or closes the question before a stop; the focus moves to it, and back. */
  #confirm(isConfirming) {
    this.#isConfirming = isConfirming;
    this.#draw();
    (isConfirming ? this.#parts.keep : this.#parts.stop).focus();
  }

  async #send(command) {
    const { run } = this.#view;
    const { ready, again } = this.#state();
    if (!ready) return;
    const sent = { command, run: run.run, attempts: run.attempts.length, again };
    this.#sent = Object.assign(sent, { seq: null, problem: "", answered: false });
    this.#draw();
    Object.assign(sent, await control.send(run.run, command));
    if (command === "cancel" && !sent.problem) this.#sent = null; // the run can be started again as before
    this.#draw();
  }

  #state() {
    return commandState({ ...this.#view, sent: this.#sent, started: control.started });
  }
}

function button(text, click) {
  return textButton("button", text, click);
}

function group(label, ...children) {
  return make("div", { className: "row run-command-group", role: "group", "aria-label": label }, ...children);
}

function statusLine() {
  return make("p", { className: "run-command-status soft", role: "status" });
}

const PASSIVES = { pause: "pause", resume: "resume", checkpoint: "be saved", evaluate: "be evaluated", stop: "stop" };
const SERVER_GONE = "The server does not answer. The run continues without it, and cannot be controlled now.";

/**
 * @typedef {object} Command the newest command that was sent
 * @property {"pause" | "resume" | "checkpoint" | "evaluate" | "stop" | "cancel"} command
 * @property {string} run id
 * @property {number} attempts how often the run had been resumed when it was sent
 * @property {number | null} seq its number, once the server accepted it
 * @property {string} problem the server's reason for refusing it, or ""
 * @property {boolean} again whether it restarts a run that had ended
 * @property {boolean} answered whether the server has answered
 */

/**
 * @param {object} view
 * @param {ReturnType<typeof import("../fold.js").emptyRun>} view.run
 * @param {string} view.kind of the source: only a live run takes commands
 * @param {string} view.health
 * @param {string} view.stream
 * @param {string} view.runner state of the runner
 * @param {Command | null} view.sent
 * @param {import("../control.js").Started | null} view.started the newest start from a page
 * @returns {{shown: boolean, ready: boolean, paused: boolean, again: boolean, loading: boolean, can: string[] | null, status: string}}
 *   whether there are buttons, they are enabled, the first one resumes, it is the only one, it cancels a start; which
 *   commands a watched loop supports (null: all); and the text below them
 */
export function commandState(view) {
  const { run, kind, health } = view;
  const sent = view.sent?.run === run.run ? view.sent : null;
  const lives = kind === "live" && run.events > 0 && !run.end && health !== "gone";
  const ours = !run.start?.trainer && !isImported(run); // other trainers restart their own runs
  const again = kind === "live" && ours && !lives && isResumable(health === "gone" ? "gone" : run.status);
  const paused = run.beat?.paused === true && lives;
  const answers = view.runner === "live" && (again || !["gone", "refused"].includes(view.stream));
  const starting = view.started?.alive === true || (sent?.again && !sent.answered);
  const busy = again ? starting : sent !== null && isPending(sent, run);
  const loading = again && isLoading(view.started) && view.started.name === run.run;
  const shown = lives || again;
  const other = again && view.started?.alive && view.started.name !== run.run && view.started.run !== run.run;
  const own = sent?.again ? restartText(sent, lives, view.started) : progressText(sent, run, lives);
  const text = other ? otherRunText(view.started) : own;
  const ready = shown && answers && (!busy || loading);
  return { shown, ready, paused, again, loading, can: run.start?.can ?? null, status: shown && !answers ? SERVER_GONE : text };
}

/** Returns the text on a restart: refused, loading, failed, or nothing once it runs. */
function restartText({ problem, run, answered }, lives, started) {
  if (lives) return "";
  if (problem) return problem;
  if (!answered || started?.alive) return "Restarting: it loads its newest checkpoint.";
  if (started?.name !== run) return "";
  return started.run ? "" : `It did not start: ${started.lines.at(-1) ?? "it printed nothing"}`;
}

/** Whether the run has yet to obey. */
function isPending(sent, run) {
  if (sent.problem || run.end || run.attempts.length > sent.attempts) return false;
  return sent.seq === null || sent.command === "stop" || (run.beat?.heard ?? 0) < sent.seq;
}

function progressText(sent, run, lives) {
  if (sent === null) return "";
  if (sent.problem) return sent.problem;
  if (!lives) return endText(sent, run);
  if (run.attempts.length > sent.attempts) {
    return `The run was resumed before it could ${PASSIVES[sent.command]}: send it again.`;
  }
  return isPending(sent, run) ? waitingFor(sent.command, run) : doneWith(sent.command, run);
}

/** Returns the text once the run has ended: by the command, or before it could obey. */
function endText({ command }, run) {
  if (run.end && command === "stop" && run.status === "stopped") return "";
  return `The run ended before it could ${PASSIVES[command]}.`;
}

function waitingFor(command, run) {
  const first = run.beat?.paused ? "" : " The step in progress is finished first.";
  return `Asked to ${PASSIVES[command]}.${first}`;
}

function doneWith(command, run) {
  const saved = run.checkpoint ? `Step ${run.checkpoint.step} is saved.` : "Nothing to save yet.";
  const texts = { pause: "", resume: "Training resumed.", checkpoint: saved, evaluate: "Evaluated." };
  return texts[command] ?? "";
}

/** Whether a start has no run yet, and can be cancelled. */
function isLoading(started) {
  return started?.alive === true && !started.run && started.verb !== "blend";
}

function otherRunText({ name }) {
  return `${name} is running. Only one process at a time can be started from here.`;
}

// ── what is done with the model of the run that is shown ─────────────────────────────────────

const MOST_CHARACTERS = 4000;
const FIELDS = [
  ["tokens", "Most tokens", { value: 64, min: 1, max: 256, step: 1 }],
  ["temperature", "Temperature", { value: 0, min: 0, max: 5, step: "any" }],
  ["seed", "Seed", { value: 0, min: 0, max: 2 ** 31, step: 1 }],
];

export class RunAsk extends HTMLElement {
  #parts = null;
  #view = null;
  #asked = null; // {run, seq, problem, busy}: the newest question

  connectedCallback() {
    if (!this.#parts) this.#build();
  }

  /** Shows the form where the run's model can be asked: `{run, kind, health, runner}`. */
  show(view) {
    this.#view = view;
    if (!this.#parts) return;
    const { form, status, ask } = this.#parts;
    const { shown, ready, text } = askState({ ...view, asked: this.#asked });
    form.hidden = !shown;
    this.hidden = !shown;
    ask.ariaDisabled = String(!ready);
    put(status, text);
  }

  #build() {
    const prompt = make("textarea", { className: "field-input", name: "prompt", rows: 2 });
    const ask = make("button", { className: "button" }, "Ask both models");
    const fields = FIELDS.map(([name, text, more]) => make("label", {}, text, make("input", { className: "field-input", type: "number", name, ...more })));
    const row = make("div", { className: "row run-command-group" }, ask, ...fields);
    const form = make("form", { className: "stack run-ask-form" }, make("label", {}, "Prompt", prompt), row);
    const status = statusLine();
    form.addEventListener("submit", (event) => this.#submit(event));
    prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    this.#parts = { form, prompt, ask, status };
    this.replaceChildren(make("h3", { className: "run-chart-title" }, "Ask"), form, status);
    if (this.#view) this.show(this.#view);
  }

  async #submit(event) {
    event.preventDefault();
    const { form, prompt, ask } = this.#parts;
    if (ask.ariaDisabled === "true") return;
    const { run } = this.#view;
    const wrong = promptProblem(prompt.value);
    if (wrong) {
      this.#asked = { run: run.run, seq: null, problem: wrong, busy: false };
      return this.show(this.#view);
    }
    const numbers = FIELDS.map(([name]) => [name, Number(form.elements.namedItem(name).value)]);
    const asked = (this.#asked = { run: run.run, seq: null, problem: "", busy: true });
    this.show(this.#view);
    const { data, problem } = await control.ask(run.run, { prompt: prompt.value, ...Object.fromEntries(numbers) });
    Object.assign(asked, { seq: data?.seq ?? null, problem, busy: false });
    if (data?.after) this.dispatchEvent(new CustomEvent("answered", { detail: { run: run.run, ...data }, bubbles: true }));
    this.show(this.#view);
  }
}

function promptProblem(prompt) {
  if (!prompt.trim()) return "The prompt is empty: write a question, or the beginning of a text.";
  if (prompt.length <= MOST_CHARACTERS) return "";
  return `The prompt has ${prompt.length} characters: shorten it to ${MOST_CHARACTERS}, or ask in a terminal with unfrozen ask.`;
}

/**
 * @param {{run: ReturnType<typeof import("../fold.js").emptyRun>, kind: string, health: string, runner: string,
 *   asked: {run: string, seq: number | null, problem: string, busy: boolean} | null}} view
 * @returns {{shown: boolean, ready: boolean, text: string}} whether there is a form, it takes a prompt, and the line below it
 */
export function askState({ run, kind, health, runner, asked }) {
  const shown = kind === "live" && run.events > 0 && !run.start?.trainer && !isImported(run);
  if (runner !== "live") return { shown, ready: false, text: shown ? "The server does not answer: nothing can be asked now." : "" };
  if (asked?.run !== run.run) return { shown, ready: shown, text: "" };
  if (asked.problem) return { shown, ready: true, text: asked.problem };
  const lives = !run.end && health !== "gone";
  const isAnswered = asked.seq === null || run.answers.some((answer) => answer.asked >= asked.seq);
  if (asked.busy && !lives) return { shown, ready: false, text: "Loading both models, the first time; then they answer." };
  if (asked.busy || (!isAnswered && lives)) return { shown, ready: false, text: "Asked. The run answers after the step in progress." };
  return { shown, ready: true, text: isAnswered ? "" : "The run ended before it answered: ask again." };
}

export class RunBlend extends HTMLElement {
  #view = null;
  #problem = "";
  #parts = null;

  connectedCallback() {
    if (this.#parts) return;
    const [button, status] = [textButton("button", "", () => this.#press()), statusLine()];
    control.addEventListener("change", () => this.#view && this.show(this.#view));
    this.#parts = { button, status };
    this.replaceChildren(button, status);
    if (this.#view) this.show(this.#view);
  }

  /** Shows what can be done with the run: `{run, kind, health, runner}`. */
  show(view) {
    this.#view = view;
    if (!this.#parts) return;
    const { button, status } = this.#parts;
    const { shown, ready, busy, text } = blendState({ ...view, started: control.started, problem: this.#problem });
    this.hidden = !shown;
    put(button, busy ? "Cancel" : view.run.blends.length ? "Blend it again" : "Win back what it lost");
    button.ariaDisabled = String(!ready);
    put(status, text);
  }

  async #press() {
    const { run } = this.#view;
    const { busy } = blendState({ ...this.#view, started: control.started, problem: "" });
    this.#problem = (await control.send(run.run, busy ? "cancel" : "blend")).problem;
    this.show(this.#view);
  }
}

/**
 * @param {{run: ReturnType<typeof import("../fold.js").emptyRun>, kind: string, health: string, runner: string, problem: string,
 *   started: import("../control.js").Started | null}} view
 * @returns {{shown: boolean, ready: boolean, busy: boolean, text: string}} whether its model can be blended, now, whether it is,
 *   and the line below
 */
export function blendState({ run, kind, health, runner, started, problem }) {
  const shown = kind === "live" && canBlend(run, health);
  if (runner !== "live") return { shown, ready: false, busy: false, text: "" };
  const own = started?.verb === "blend" && started.name === run.run ? started : null;
  if (own?.alive && !own.run) return { shown, ready: true, busy: true, text: "It scores eleven models between the one before and the trained one; then the curve is here." };
  if (started?.alive) return { shown, ready: false, busy: false, text: otherRunText(started) };
  if (problem) return { shown, ready: shown, busy: false, text: problem };
  const failed = own && !own.run;
  return { shown, ready: shown, busy: false, text: failed ? `It was not blended: ${own.lines.at(-1) ?? "it printed nothing"}` : "" };
}

customElements.define("run-ask", RunAsk);
customElements.define("run-blend", RunBlend);
customElements.define("run-commands", RunCommands);

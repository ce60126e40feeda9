/**
 * What is done with the model of the run that is shown. `<run-ask>`: a prompt to it. A run that trains answers between two
 * steps, and its answer is in its log; of a run that has ended, the server loads the model before and the model after.
 * `<run-blend>`: the way back of a run that has ended.
 */

import { make } from "../../figures/tools.js";
import { control } from "../control.js";
import { canBlend, isImported } from "../fold.js";

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
    if (status.textContent !== text) status.textContent = text;
  }

  #build() {
    const form = make("form", { className: "stack run-ask-form" });
    const prompt = make("textarea", { className: "field-input", name: "prompt", rows: 2 });
    const row = make("div", { className: "row run-command-group" });
    const ask = make("button", { className: "button", textContent: "Ask both models" });
    const status = make("p", { className: "run-command-status soft", role: "status" });
    row.append(ask, ...FIELDS.map(([name, text, more]) => make("label", {}, text, make("input", { className: "field-input", type: "number", name, ...more }))));
    form.append(make("label", {}, "Prompt", prompt), row);
    form.addEventListener("submit", (event) => this.#submit(event));
    prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    this.#parts = { form, prompt, ask, status };
    this.replaceChildren(make("h3", { className: "run-chart-title", textContent: "Ask" }), form, status);
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
    const button = make("button", { type: "button", className: "button" });
    const status = make("p", { className: "run-command-status soft", role: "status" });
    button.addEventListener("click", () => button.ariaDisabled !== "true" && this.#press());
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
    this.#problem = busy ? await control.cancel(run.run) : (await control.send(run.run, "blend")).problem;
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
  if (started?.alive) return { shown, ready: false, busy: false, text: `${started.name} is running. Only one process at a time can be started from here.` };
  if (problem) return { shown, ready: shown, busy: false, text: problem };
  const failed = own && !own.run;
  return { shown, ready: shown, busy: false, text: failed ? `It was not blended: ${own.lines.at(-1) ?? "it printed nothing"}` : "" };
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

customElements.define("run-ask", RunAsk);
customElements.define("run-blend", RunBlend);

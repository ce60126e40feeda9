/**
 * The elements that control runs. `<run-commands>` pauses, resumes, saves or stops the run that is shown, or
 * restarts it; `<run-start>` starts a run from a recipe, with some numbers of the reader's own. Fetched only
 * where the server allows it. A button that waits keeps its focus (aria-disabled), and the line beneath
 * says why.
 */

import { control } from "../control.js";
import { commandState, launchState } from "../commands.js";

export class RunCommands extends HTMLElement {
  #parts = null;
  #view = null;
  /** @type {import("../commands.js").Asked | null} */
  #asked = null;
  #asking = false;

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
    const hold = button("Pause", () =>
      hold.dataset.command === "cancel" ? this.#cancel() : this.#send(hold.dataset.command),
    );
    const save = button("Save checkpoint", () => this.#send("checkpoint"));
    const look = button("Evaluate now", () => this.#send("evaluate"));
    const stop = button("Stop…", () => this.#confirm(true));
    const really = button("Stop the run", () => this.#confirm(false) || this.#send("stop"));
    const keep = button("Keep training", () => this.#confirm(false));
    const [buttons, sure] = [group("Control of this run"), group("Stop the run?")];
    const question = Object.assign(document.createElement("span"), { className: "soft" });
    question.textContent = "Stop after this step? A checkpoint is saved, and the run can be resumed later.";
    really.classList.add("run-command-stop");
    buttons.append(hold, save, look, stop);
    sure.append(question, really, keep);
    sure.addEventListener("keydown", ({ key }) => key === "Escape" && this.#confirm(false));
    const status = Object.assign(document.createElement("p"), { className: "run-command-status soft" });
    status.setAttribute("role", "status");
    this.#parts = { hold, save, look, stop, really, keep, buttons, sure, status };
    this.replaceChildren(buttons, sure, status);
  }

  #draw() {
    const { hold, save, look, stop, buttons, sure, status } = this.#parts;
    const { shown, ready, paused, again, loading, can, status: text } = this.#now();
    if (!shown || again) this.#asking = false;
    buttons.hidden = !shown || this.#asking;
    sure.hidden = !shown || !this.#asking;
    const label = loading ? "Cancel" : paused || again ? "Resume" : "Pause";
    put(hold, label);
    hold.dataset.command = label.toLowerCase();
    save.hidden = look.hidden = stop.hidden = again;
    const commands = [[hold, "pause"], [save, "checkpoint"], [look, "evaluate"], [stop, "stop"], [this.#parts.really, "stop"]];
    for (const [one, command] of commands) {
      const isSupported = can === null || can.includes(command);
      one.ariaDisabled = String(!ready || !isSupported);
      one.title = isSupported ? "" : "The loop that trains this run does not support that command.";
    }
    put(status, text);
    this.hidden = !shown && !text;
  }

  /** Asks once before a stop; the focus goes to the question, and back. */
  #confirm(asking) {
    this.#asking = asking;
    this.#draw();
    (asking ? this.#parts.keep : this.#parts.stop).focus();
  }

  async #send(command) {
    const { run } = this.#view;
    const { ready, again } = this.#now();
    if (!ready) return;
    const asked = { command, run: run.run, attempts: run.attempts.length, again };
    this.#asked = Object.assign(asked, { seq: null, problem: "", answered: false });
    this.#draw();
    Object.assign(asked, await control.send(asked.run, command));
    this.#draw();
  }

  /** Ends a start that still loads; the run can be started again as before. */
  async #cancel() {
    const { run } = this.#view;
    const problem = await control.cancel(run.run);
    const asked = { command: "resume", run: run.run, attempts: run.attempts.length, again: true };
    this.#asked = problem ? { ...asked, seq: null, problem, answered: true } : null;
    this.#draw();
  }

  #now() {
    return commandState({ ...this.#view, asked: this.#asked, started: control.started });
  }
}

function button(text, click) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.className = "button";
  made.addEventListener("click", () => made.ariaDisabled !== "true" && click());
  return made;
}

function group(label) {
  const made = Object.assign(document.createElement("div"), { className: "row run-command-group" });
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", label);
  return made;
}

const LABELS = {
  steps: "Steps",
  lr: "Learning rate",
  micro_batch: "Micro-batch size",
  grad_accum: "Gradient accumulation steps",
  seq_len: "Sequence length (tokens)",
  seed: "Seed",
};

export class RunStart extends HTMLElement {
  #parts = null;
  #offered = "";
  #busy = false;
  #problem = "";
  #loadingSince = null;

  connectedCallback() {
    if (this.#parts) return;
    this.#build();
    control.addEventListener("change", () => this.show());
    this.show();
  }

  /** Draws the form for what the server allows now; `runner` is the state of the runner. */
  show(runner = this.dataset.runner ?? "live") {
    this.dataset.runner = runner;
    if (!this.#parts) return;
    const { select, go, cancel, status, lines } = this.#parts;
    this.#offer();
    const launch = launchState({ runner, started: control.started, busy: this.#busy, problem: this.#problem });
    go.ariaDisabled = String(!launch.ready);
    if (!launch.loading && document.activeElement === cancel) go.focus();
    cancel.hidden = !launch.loading;
    select.disabled = this.#busy;
    put(status, launch.status);
    status.classList.toggle("bad", launch.bad);
    put(lines, launch.lines.join("\n"));
    lines.hidden = launch.lines.length === 0;
    this.#announce(control.started);
  }

  #build() {
    const make = (tag, more) => Object.assign(document.createElement(tag), more);
    const details = make("details", { className: "run-start" });
    const form = make("form", { className: "stack run-start-form" });
    const select = make("select", { name: "recipe" });
    const numbers = make("div", { className: "run-start-numbers" });
    const go = make("button", { className: "button primary", textContent: "Start the run" });
    const cancel = make("button", { className: "button", type: "button", textContent: "Cancel" });
    const status = make("p", { className: "run-command-status soft" });
    const lines = make("pre", { className: "run-start-lines", hidden: true, tabIndex: 0 });
    status.setAttribute("role", "status");
    lines.setAttribute("role", "region");
    lines.setAttribute("aria-label", "The last lines it printed");
    select.addEventListener("change", () => this.#fill());
    form.addEventListener("submit", (event) => this.#submit(event));
    cancel.addEventListener("click", () => this.#post(() => control.cancel(control.started.name)));
    const buttons = make("div", { className: "row run-command-group" });
    buttons.append(go, cancel);
    form.append(labelled("Recipe", select), numbers, buttons);
    details.append(make("summary", { textContent: "Start a run" }), form, status, lines);
    this.#parts = { details, form, select, numbers, go, cancel, status, lines };
    this.replaceChildren(details);
  }

  /** Lists the recipes when they changed; the chosen one and the typed numbers stay if they can. */
  #offer() {
    const offered = JSON.stringify(control.recipes);
    if (offered === this.#offered) return;
    this.#offered = offered;
    const { select } = this.#parts;
    const chosen = select.value;
    const option = ({ name, problem }) => {
      const made = new Option(problem ? `${name}: ${problem}` : name, name);
      made.disabled = problem !== "";
      return made;
    };
    select.replaceChildren(...control.recipes.map(option));
    if (control.recipes.some(({ name, problem }) => name === chosen && !problem)) select.value = chosen;
    if (select.value !== chosen) this.#fill();
  }

  #fill() {
    const { select, numbers } = this.#parts;
    const recipe = control.recipes.find(({ name }) => name === select.value);
    const fields = Object.entries(LABELS).filter(([name]) => recipe?.numbers[name]);
    numbers.replaceChildren(...fields.map(([name, label]) => field(name, label, recipe.numbers[name])));
  }

  #submit(event) {
    event.preventDefault();
    const { form, select, go } = this.#parts;
    if (go.ariaDisabled === "true" || this.#busy) return;
    const inputs = [...form.querySelectorAll("input")];
    const changed = inputs.filter((input) => input.value !== "" && input.value !== input.defaultValue);
    this.#post(() => control.launch(select.value, Object.fromEntries(changed.map(numberIn))));
  }

  /** Sends one command; the form takes no other until the server has answered. */
  async #post(command) {
    this.#busy = true;
    this.#problem = "";
    this.show();
    this.#problem = await command();
    this.#busy = false;
    this.show();
  }

  /** Closes the form to make room for the run; the focus moves to its summary. */
  #close() {
    const { details } = this.#parts;
    if (details.contains(document.activeElement)) details.querySelector("summary").focus();
    details.open = false;
  }

  /** Announces once, by the event "begun", that a run this page saw loading has begun. */
  #announce(started) {
    if (started?.alive && !started.run) this.#loadingSince = started.at;
    if (!started?.run || this.#loadingSince !== started.at) return;
    this.#loadingSince = null;
    this.#close();
    this.dispatchEvent(new CustomEvent("begun", { detail: started.run, bubbles: true }));
  }
}

function numberIn(input) {
  return [input.name, Number(input.value)];
}

function field(name, label, { value, low, high, whole }) {
  const input = Object.assign(document.createElement("input"), { type: "number", name });
  Object.assign(input, { min: low, max: Math.min(high, Number.MAX_SAFE_INTEGER), step: whole ? 1 : "any" });
  input.defaultValue = value === null ? "" : String(value);
  if (value === null) input.placeholder = "as in the recipe";
  return labelled(label, input);
}

function labelled(text, element) {
  const label = document.createElement("label");
  label.append(text, element);
  return label;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

customElements.define("run-commands", RunCommands);
customElements.define("run-start", RunStart);

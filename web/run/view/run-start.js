/**
 * `<run-start>`: starts a run by the name of its recipe, with a few numbers of one's own. Fetched
 * only where the server allows it; it says "begun" once a run of ours is there to look at.
 */

import { control } from "../control.js";
import { startOf } from "../orders.js";

const LABELS = {
  steps: "Steps",
  lr: "Learning rate",
  micro_batch: "Rows at once",
  grad_accum: "Micro-batches a step",
  seq_len: "Longest row, tokens",
  seed: "Seed",
};

export class RunStart extends HTMLElement {
  #parts = null;
  #painted = "";
  #busy = false;
  #problem = "";
  #told = null;

  connectedCallback() {
    if (this.#parts) return;
    this.#build();
    control.addEventListener("change", () => this.show());
    this.show();
  }

  /** Brings the form to what the server allows now; `runner` is the state of the runner. */
  show(runner = this.dataset.runner ?? "live") {
    this.dataset.runner = runner;
    if (!this.#parts) return;
    const { select, go, cancel, status, lines } = this.#parts;
    this.#offer();
    const said = startOf({ runner, started: control.started, busy: this.#busy, problem: this.#problem });
    go.ariaDisabled = String(!said.ready);
    if (!said.loading && document.activeElement === cancel) go.focus();
    cancel.hidden = !said.loading;
    select.disabled = this.#busy;
    put(status, said.status);
    status.classList.toggle("run-order-bad", said.bad);
    put(lines, said.lines.join("\n"));
    lines.hidden = said.lines.length === 0;
    this.#announce(control.started);
  }

  #build() {
    const make = (tag, more) => Object.assign(document.createElement(tag), more);
    const details = make("details", { className: "run-start" });
    const form = make("form", { className: "run-start-form" });
    const select = make("select", { name: "recipe" });
    const numbers = make("div", { className: "run-start-numbers" });
    const go = make("button", { className: "button primary", textContent: "Start the run" });
    const cancel = make("button", { className: "button", type: "button", textContent: "Cancel" });
    const status = make("p", { className: "run-order-status" });
    const lines = make("pre", { className: "run-start-lines", hidden: true, tabIndex: 0 });
    status.setAttribute("role", "status");
    lines.setAttribute("role", "region");
    lines.setAttribute("aria-label", "The last lines it printed");
    select.addEventListener("change", () => this.#fill());
    form.addEventListener("submit", (event) => this.#submit(event));
    cancel.addEventListener("click", () => this.#ask(() => control.cancel(control.started.name)));
    const buttons = make("div", { className: "run-order-group" });
    buttons.append(go, cancel);
    form.append(labelled("Recipe", select), numbers, buttons);
    details.append(make("summary", { textContent: "Start a run" }), form, status, lines);
    this.#parts = { details, form, select, numbers, go, cancel, status, lines };
    this.replaceChildren(details);
  }

  /** The recipes, when the list changed; what was chosen and typed stays if it can. */
  #offer() {
    const painted = JSON.stringify(control.recipes);
    if (painted === this.#painted) return;
    this.#painted = painted;
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
    this.#ask(() => control.begin(select.value, Object.fromEntries(changed.map(numberIn))));
  }

  /** Until the server has answered, nothing else is asked. */
  async #ask(order) {
    this.#busy = true;
    this.#problem = "";
    this.show();
    this.#problem = await order();
    this.#busy = false;
    this.show();
  }

  /** Makes room for the run; the focus does not fall off the page. */
  #close() {
    const { details } = this.#parts;
    if (details.contains(document.activeElement)) details.querySelector("summary").focus();
    details.open = false;
  }

  /** Says once that a run which this page saw starting is there. */
  #announce(started) {
    if (started?.alive && !started.run) this.#told = started.at;
    if (!started?.run || this.#told !== started.at) return;
    this.#told = null;
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

customElements.define("run-start", RunStart);

/**
 * `<run-orders>`: pause, resume, save or stop the run that is shown, or start it again. Fetched only
 * where the server allows it. A button that waits keeps its focus (aria-disabled), and the line beneath
 * says why.
 */

import { control } from "../control.js";
import { ordersOf } from "../orders.js";

export class RunOrders extends HTMLElement {
  #parts = null;
  #view = null;
  /** @type {import("../orders.js").Asked | null} */
  #asked = null;
  #asking = false;

  connectedCallback() {
    if (this.#parts) return;
    this.#build();
    control.addEventListener("change", () => this.#view && this.#draw());
  }

  /** Brings the buttons to the state of the view: `{run, kind, health, stream, runner}`. */
  show(view) {
    this.#view = view;
    if (this.#parts) this.#draw();
  }

  #build() {
    const hold = button("Pause", () =>
      hold.dataset.command === "cancel" ? this.#cancel() : this.#tell(hold.dataset.command),
    );
    const save = button("Save now", () => this.#tell("checkpoint"));
    const look = button("Evaluate now", () => this.#tell("evaluate"));
    const stop = button("Stop…", () => this.#confirm(true));
    const really = button("Stop the run", () => this.#confirm(false) || this.#tell("stop"));
    const keep = button("Keep training", () => this.#confirm(false));
    const [buttons, sure] = [group("Control of this run"), group("Stop the run?")];
    const question = document.createElement("span");
    question.textContent = "Stop after this step? Everything is saved, and the run can be resumed later.";
    really.classList.add("run-order-stop");
    buttons.append(hold, save, look, stop);
    sure.append(question, really, keep);
    sure.addEventListener("keydown", ({ key }) => key === "Escape" && this.#confirm(false));
    const status = Object.assign(document.createElement("p"), { className: "run-order-status" });
    status.setAttribute("role", "status");
    this.#parts = { hold, save, look, stop, really, keep, buttons, sure, status };
    this.replaceChildren(buttons, sure, status);
  }

  #draw() {
    const { hold, save, look, stop, buttons, sure, status } = this.#parts;
    const { shown, ready, paused, again, loading, can, status: said } = this.#now();
    if (!shown || again) this.#asking = false;
    buttons.hidden = !shown || this.#asking;
    sure.hidden = !shown || !this.#asking;
    const word = loading ? "Cancel" : paused || again ? "Resume" : "Pause";
    put(hold, word);
    hold.dataset.command = word.toLowerCase();
    save.hidden = look.hidden = stop.hidden = again;
    const commands = [[hold, "pause"], [save, "checkpoint"], [look, "evaluate"], [stop, "stop"], [this.#parts.really, "stop"]];
    for (const [one, command] of commands) {
      const heard = can === null || can.includes(command);
      one.ariaDisabled = String(!ready || !heard);
      one.title = heard ? "" : "The loop that trains this run does not hear that: it is only watched.";
    }
    put(status, said);
    this.hidden = !shown && !said;
  }

  /** Asks once before a stop; the focus goes to the question, and back. */
  #confirm(asking) {
    this.#asking = asking;
    this.#draw();
    (asking ? this.#parts.keep : this.#parts.stop).focus();
  }

  async #tell(command) {
    const { run } = this.#view;
    const { ready, again } = this.#now();
    if (!ready) return;
    const asked = { command, run: run.run, attempts: run.attempts.length, again };
    this.#asked = Object.assign(asked, { seq: null, problem: "", answered: false });
    this.#draw();
    Object.assign(asked, await control.tell(asked.run, command));
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
    return ordersOf({ ...this.#view, asked: this.#asked, started: control.started });
  }
}

function button(text, click) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.className = "button";
  made.addEventListener("click", () => made.ariaDisabled !== "true" && click());
  return made;
}

function group(label) {
  const made = Object.assign(document.createElement("div"), { className: "run-order-group" });
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", label);
  return made;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

customElements.define("run-orders", RunOrders);

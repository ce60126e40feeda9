/**
 * The behaviour of `<page-run>`: dials, runs, the plane, questions. It upgrades the printed markup in place and shows the
 * newest run in a `<run-view>` of its own.
 */

import { addSavedRuns, deleteRun, pageRuns, saveRun } from "../run/page-runs.js";
import { trainer } from "../run/page-trainer.js";
import { spellCommand } from "../run/command-line.js";
import { textForHost } from "../python/runtime-files.js";
import { planeView } from "../plots/plane.js";
import { answersView, pageRunView, runsView } from "./view.js";
import { WayBack } from "./way-back.js";
import "../run/view/run-view.js";
import { saveFile } from "../figures/tools.js";
import { toDom } from "../figures/vnode.js";

const BUSY = ["loading", "training", "stopping"];

export class LivePageRun {
  #more = {}; // choices without a dial, or between two of its stops
  #shown = "";
  #width = 0; // of the plane as it was drawn
  #asked = 0; // questions, of which the newest is shown

  /**
   * @param {HTMLElement} host the element
   * @param {object} view from the site builder
   */
  constructor(host, view) {
    this.host = host;
    this.view = view;
    const tree = toDom(pageRunView(view, { live: true }));
    this.run = Object.assign(document.createElement("run-view"), { hidden: true });
    this.run.toggleAttribute("data-own", true);
    tree.querySelector(".page-run-settings").after(this.run);
    host.replaceChildren(host.querySelector("script.data"), tree);
    this.wayBack = new WayBack(this.#find(".page-run-back"), () => this.#askAgain());
    this.#listen();
    this.#drawStatus();
    this.#drawRuns();
    void addSavedRuns();
  }

  get choices() {
    const dialled = this.view.dials.map(({ name, stops }) => [name, stops[this.#dial(name).value]]);
    return { ...Object.fromEntries(dialled), ...this.#more };
  }

  set choices(given) {
    this.#more = {};
    for (const dial of this.view.dials) {
      const value = given[dial.name] ?? dial.stops[dial.at];
      const stop = dial.stops.indexOf(value);
      if (stop < 0) this.#more[dial.name] = value;
      this.#setDial(dial, stop < 0 ? nearest(dial.stops, value) : stop, value);
    }
    const known = new Set(this.view.dials.map(({ name }) => name));
    for (const [name, value] of Object.entries(given)) if (!known.has(name)) this.#more[name] = value;
    this.#namePreset();
  }

  /** The run that is shown, as `<run-view>` has it. */
  get state() {
    return this.run.state;
  }

  /** Fine-tunes with the current choices. */
  start() {
    return trainer.train(this.choices);
  }

  /** Stops the run; its model can still be asked. */
  stop() {
    trainer.stop();
  }

  /** Resolves to the continuations of `prompt` before training and after the newest run, mixed as it is now. */
  ask(prompt) {
    return trainer.ask(String(prompt), this.wayBack.alpha);
  }

  /** Resolves to the losses and exact matches of the model at α on the way from before training to after it. */
  blend(alpha) {
    return this.wayBack.blend(alpha);
  }

  #find(selector) {
    return this.host.querySelector(selector);
  }

  #dial(name) {
    return this.#find(`#page-run-${name}`);
  }

  #listen() {
    trainer.addEventListener("status", () => this.#drawStatus());
    pageRuns.addEventListener("change", () => this.#runsChanged());
    pageRuns.addEventListener("events", ({ detail }) => this.#follow(detail.events));
    this.#find(".page-run-start").addEventListener("click", () => this.#startOrStop());
    this.#find(".page-run-grid").addEventListener("input", ({ target }) => this.#dialChanged(target));
    this.#find(".chips").addEventListener("click", ({ target }) => this.#preset(target.dataset.preset));
    this.#find(".page-run-list").addEventListener("click", ({ target }) => this.#runCommand(target));
    this.#find(".page-run-ask").addEventListener("submit", (event) => this.#askModels(event));
    this.#find(".page-run-another").addEventListener("click", () => this.#askAnother());
    new ResizeObserver(() => this.#resized()).observe(this.#find(".page-run-plane"));
  }

  async #startOrStop() {
    if (BUSY.includes(trainer.status.phase)) return this.stop();
    const { ok, status, problem } = await this.start();
    if (!ok && status === "refused") this.#showMessage(problem);
  }

  #dialChanged(input) {
    const dial = this.view.dials.find(({ name }) => name === input.dataset.dial);
    delete this.#more[dial.name];
    this.#setDial(dial, Number(input.value), dial.stops[input.value]);
    this.#namePreset();
  }

  #setDial({ name, stops, texts }, stop, value) {
    const input = this.#dial(name);
    const text = stops[stop] === value ? texts[stop] : String(value);
    input.value = stop;
    input.setAttribute("aria-valuetext", text);
    this.#find(`output[for="page-run-${name}"]`).textContent = text;
  }

  #preset(id) {
    const preset = this.view.presets.find((other) => other.id === id);
    if (preset) this.choices = preset.choices;
  }

  /** Presses the preset that has the values of the dials, if there is one, and shows its description. */
  #namePreset() {
    const now = JSON.stringify(this.choices);
    const defaults = Object.fromEntries(this.view.dials.map(({ name, stops, at }) => [name, stops[at]]));
    const same = ({ choices }) => JSON.stringify({ ...defaults, ...choices }) === now;
    const preset = this.view.presets.find(same);
    for (const button of this.host.querySelectorAll(".chip")) {
      button.setAttribute("aria-pressed", String(button.dataset.preset === preset?.id));
    }
    this.#find(".page-run-preset-note").textContent = preset?.says ?? "Custom settings.";
  }

  #runsChanged() {
    const newest = [...pageRuns.all.keys()].at(-1);
    if (newest && newest !== this.newest && !pageRuns.all.get(newest).saved) this.#show(newest);
    this.newest = newest;
    this.#drawRuns();
    this.#showWayBack();
  }

  #show(id) {
    this.#shown = id;
    this.run.hidden = false;
    this.run.showPage(id);
    this.#drawRuns();
  }

  #drawRuns() {
    const list = runsView([...pageRuns.all.values()], this.#shown);
    const focused = this.#focusedButton();
    this.#find(".page-run-list").replaceChildren(...list.map((node) => toDom(node)));
    if (focused) this.#find(focused)?.focus();
    this.#drawPlane();
  }

  /** Returns a selector of the list's focused button, so that a redraw can focus it again. */
  #focusedButton() {
    const button = document.activeElement?.closest?.(".page-run-list [data-command]");
    if (!button || !this.host.contains(button)) return "";
    const { run } = button.closest(".page-run-item").dataset;
    return `[data-run="${run}"] [data-command="${button.dataset.command}"]`;
  }

  #resized() {
    if (this.#find(".page-run-plane").clientWidth !== this.#width) this.#drawPlane();
  }

  #drawPlane() {
    const place = this.#find(".page-run-plane");
    const runs = [...pageRuns.all.values()].map(({ id, title, path }, index) => ({ number: index + 1, title, path, isShown: id === this.#shown }));
    this.#width = place.clientWidth;
    const width = Math.max(280, Math.min(760, this.#width || 640));
    const nodes = planeView(this.view.challenge, runs.filter(({ path }) => path.length), width).map((node) => toDom(node));
    place.replaceChildren(...nodes);
  }

  /** Shows how far the run that trains is: its step beside the button, its path on the plane. */
  #follow(events) {
    if (events.some(({ kind }) => kind === "eval")) this.#drawPlane();
    const step = events.findLast(({ kind }) => kind === "metrics")?.step;
    if (step && trainer.status.phase === "training") this.#find(".page-run-note").textContent = `Step ${step}. The page stays usable.`;
  }

  #drawStatus() {
    const { phase, reason } = trainer.status;
    const button = this.#find(".page-run-start");
    const busy = BUSY.includes(phase);
    button.textContent = busy ? "Stop" : "Fine-tune it here";
    button.classList.toggle("page-run-stop", busy);
    button.disabled = phase === "stopping";
    this.#find(".page-run-note").textContent = busy ? workText(trainer.status) : textForHost(this.view.fetches);
    this.#showMessage(phase === "failed" ? `${reason} Try again.` : "");
    this.host.dataset.phase = phase;
    this.#showWayBack();
  }

  /** Shows the way back from the newest run of this visit, whose weights the worker holds. */
  #showWayBack() {
    this.wayBack.show([...pageRuns.all.values()].findLast(({ saved }) => !saved));
  }

  #showMessage(text) {
    const place = this.#find(".page-run-status");
    if (place.textContent !== text) place.textContent = text;
  }

  async #runCommand(button) {
    const { command } = button.dataset;
    const run = pageRuns.all.get(button.closest(".page-run-item")?.dataset.run);
    if (!command || !run) return;
    if (command === "show") this.#show(run.id);
    else if (command === "download") saveFile(`${run.id}.jsonl`, pageRuns.file(run.id));
    else if (command === "copy") await this.#copy(spellCommand(run.command));
    else await this.#toggleSaved(run);
  }

  async #copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      this.#showMessage("The command for the runner is copied.");
    } catch {
      this.#showMessage(text); // no clipboard here: the reader can select it
    }
  }

  async #toggleSaved(run) {
    try {
      await (run.saved ? deleteRun(run.id) : saveRun(run));
      run.saved = !run.saved;
      this.#showMessage(run.saved ? "Saved in this browser." : "No longer saved: it is lost when you leave.");
    } catch (error) {
      this.#showMessage(`This browser cannot save the run (${error.message}): save the log instead.`);
    }
    pageRuns.changed();
  }

  /** Asks a held-out row, drawn at random. */
  #askAnother() {
    const { questions } = this.view;
    this.#find(".page-run-prompt").value = questions[Math.floor(Math.random() * questions.length)].prompt;
    this.#find(".page-run-ask").requestSubmit();
  }

  async #askModels(event) {
    event.preventDefault();
    const button = this.#find(".page-run-ask .button");
    const prompt = this.#find(".page-run-prompt").value;
    button.disabled = true;
    await this.#showAnswers(prompt);
    button.disabled = false;
  }

  /** Answers the question that is shown once more, by the mixture as it is now. */
  #askAgain() {
    const { prompt } = this.#find(".page-run-answers").dataset;
    if (prompt !== undefined) void this.#showAnswers(prompt);
  }

  async #showAnswers(prompt) {
    const place = this.#find(".page-run-answers");
    const asked = ++this.#asked;
    const { alpha } = this.wayBack;
    place.dataset.prompt = prompt;
    const answers = await this.ask(prompt);
    const question = this.view.questions.find((row) => row.prompt === prompt);
    if (asked === this.#asked) place.replaceChildren(toDom(answersView({ ...answers, alpha, expected: question?.answer })));
  }
}

function nearest(stops, value) {
  const gaps = stops.map((stop) => Math.abs(stop - value));
  return gaps.indexOf(Math.min(...gaps));
}

function workText({ phase, what, share, starting }) {
  if (phase === "stopping") return "Stopping after the current step.";
  if (phase === "training") return "Training. The page stays usable.";
  if (starting) return "Starting Python, with numpy and the model.";
  return what ? `Loading ${what} ${share}` : "Loading";
}

/**
 * `<memory-planner>`: will it fit, and what to change. It shows what `unfrozen.planner` answers
 * for a state: verdict and figures first, advice and inverse answers later.
 */

import { toDom } from "../figures/vnode.js";
import { stateOf } from "./answers.js";
import { followHistory } from "../page/address.js";
import { SITE } from "../page/site.js";
import { planner } from "../python/planner-client.js";
import { editOf, field, syncControls } from "./controls.js";
import { fetchConfig } from "./hub-config.js";
import { PLANS, keptQueries, toggleKept } from "./side-by-side.js";
import { FIND, PlanSearch } from "./one-plan.js";
import { ModelSearch } from "./model-search.js";
import { StateElement } from "./state-element.js";
import { memoryPlannerView, openFolds, partNames, PlannerParts, reopen } from "./view.js";

const MOST_FILE_BYTES = 200_001; // Python refuses half of that; more need not be read to say so
const BAKED = ["verdict", "bar", "strip"]; // parts of the commonest plans
const LATER = ["advice", "solves"]; // parts that come with `ways`

const MOST_DATA_BYTES = 2 ** 26;
const TOO_LONG = "The file is larger than 64 MB: give its rows × epochs × tokens, or plan it with `unfrozen plan --data`.";

const MOST_TEXT_BYTES = 1_000_001; // Python refuses one less; more need not be read to say so
const MOST_HEADER_BYTES = 2 ** 25; // of a file of weights

/** Whether a dropped file holds rows rather than settings or a model. */
function isData({ name, size }) {
  return /\.(?:jsonl|ndjson|csv|tsv)$/i.test(name) || (/\.json$/i.test(name) && size > MOST_FILE_BYTES);
}

/** What Python reads of a trainer's file: its text, or the header of weights in base64. */
async function contentOf(file) {
  if (!/\.(?:gguf|safetensors)$/i.test(file.name)) return { name: file.name, text: await file.slice(0, MOST_TEXT_BYTES).text() };
  const reader = new FileReader();
  const done = new Promise((resolve) => (reader.onload = resolve));
  reader.readAsDataURL(file.slice(0, MOST_HEADER_BYTES));
  await done;
  return { name: file.name, bytes: reader.result.split(",")[1] };
}

/** One button of a row shows at once that it was chosen. */
function showPressed(pressed) {
  for (const each of pressed.parentElement.children) each.setAttribute("aria-pressed", String(each === pressed));
}

export class MemoryPlanner extends StateElement {
  static questions = { name: "planner", first: "planner.glance", later: "planner.ways", typing: "input:not([type=checkbox]), textarea" };
  #parts = null;
  #common = null; // promise of the commonest plans
  #dataProblem = "";
  #beside = null; // rows of plans side by side
  #search = new PlanSearch((name, value) => planner.ask(name, value), () => this.#drawPlan());

  /** The same tree as the baked one, with controls that work. */
  build() {
    const open = openFolds(this);
    this.querySelector(".mp").replaceWith(toDom(memoryPlannerView(this.shown, { live: true, figure: this.#isFigure })));
    reopen(this, open);
    this.#parts = new PlannerParts(this, this.shown, partNames(this.#isFigure));
    followHistory(() => void this.#compare(), PLANS);
    if (keptQueries().length > 0) void this.#compare();
    this.search = new ModelSearch(this, (name) => this.edit({ model: name, config: "" }));
  }

  listen() {
    for (const kind of ["input", "change"]) {
      this.addEventListener(kind, ({ target }) => {
        if (target.dataset.key === "tokens") this.#dataProblem = "";
        this.edit(editOf(target, this.controls.sliders));
      });
    }
    this.addEventListener("change", ({ target }) => {
      if (target.dataset.way === `${FIND}-by`) void this.#search.find(this.settled(), target.value);
      if (!target.dataset.file) return;
      const files = [...target.files];
      target.value = ""; // the same file, corrected, is read again
      void (target.dataset.file === "job" ? this.#open(files) : this.#readData(files[0]));
    });
    if (!this.#isFigure) document.addEventListener("paste", (event) => this.#onPaste(event));
    this.addEventListener("click", ({ target }) => this.#onClick(target.closest("button")));
    this.addEventListener("dragover", (event) => this.#onDrag(event, true));
    this.addEventListener("dragleave", (event) => this.#onDrag(event, false));
    this.addEventListener("drop", (event) => void this.#onDrop(event));
  }

  draw(when) {
    if (when === "later") void this.#compare();
    const isDrawn = (name) => (when === "baked" ? BAKED.includes(name) : LATER.includes(name) === (when === "later"));
    this.#parts.draw(this.#all, partNames(this.#isFigure).filter(isDrawn));
  }

  /** Returns the outline of a state, if it is one of the commonest plans. */
  async baked(state) {
    this.#common ??= fetch(new URL("common-plans.json", SITE)).then((answer) => answer.json());
    const common = await this.#common.catch(() => (this.#common = null));
    const pairs = Object.entries(state).filter(([key, value]) => value !== "" && value !== common?.default[key]);
    return common?.plans[JSON.stringify(pairs.sort())];
  }

  get #isFigure() {
    return this.hasAttribute("data-figure");
  }

  /** Shows the plans that are kept beside the one that is shown. */
  async #compare() {
    const plans = keptQueries();
    if (this.#isFigure || (plans.length === 0 && !this.#beside)) return;
    const answer = await planner.ask("planner.compare_plans", { plans, now: this.shown.query });
    if (!answer) return;
    this.#beside = answer.rows;
    this.#parts.draw(this.#all, [PLANS]);
  }

  #drawPlan() {
    this.#parts.draw(this.#all, [FIND]);
  }

  /** The view, and the plan that was asked for beside it. */
  get #all() {
    return { ...this.shown, plans: this.#beside, onePlan: this.#search.about(this.shown.state) };
  }

  sync(skip) {
    syncControls(this, this.controls, { skip });
    this.search.value = this.controls.model;
    this.#showDataProblem();
  }

  controlOf({ control }) {
    return field(this, control);
  }

  announcement({ verdict }) {
    return `${verdict.title} ${verdict.text}`;
  }

  #onClick(pressed) {
    if (!pressed) return;
    const { preset, unit, way, copies, asks, opens } = pressed.dataset;
    if (preset || unit) showPressed(pressed);
    if (preset) this.#choosePreset(preset);
    else if (unit) this.go({ ...this.state, unit });
    else if (way?.startsWith(PLANS)) this.#changeKept(way, pressed);
    else if (way === FIND) void this.#search.find(this.settled(), this.#all.onePlan?.framework);
    else if (way) this.go(stateOf(way, this.#all));
    else if (copies) void this.copy(pressed, copies);
    else if (asks) void this.#askHub(pressed, asks);
    else if (opens) this.querySelector(`[data-file="${opens}"]`).click();
  }

  /** Keeps or removes a plan, or shows one that is kept. */
  #changeKept(way, pressed) {
    const query = pressed.closest("[data-query]")?.dataset.query ?? this.shown.query;
    if (way.startsWith(`${PLANS}-use`)) return this.go(query);
    toggleKept(query);
    void this.#compare();
  }

  /** A model of no list: its file comes from the hub. */
  async #askHub(pressed, link) {
    pressed.disabled = true;
    await this.#read("project.page.read_hub", { ...(await fetchConfig(link)), state: this.state });
    pressed.disabled = false;
  }

  /** Chooses a preset: the keys that presets differ in are its own, and every other is as edited, answered or not. */
  #choosePreset(chosen) {
    const states = [this.controls.state, ...this.controls.presets.map(({ state }) => state)];
    const { state } = this.controls.presets.find(({ key }) => key === chosen);
    const isTheirs = (key) => states.some((other) => other[key] !== states[0][key]);
    const pairs = [...Object.entries(this.state).filter(([key]) => !isTheirs(key)), ...Object.entries(state).filter(([key]) => isTheirs(key))];
    this.go(Object.fromEntries(pairs));
  }

  #onDrag(event, isOver) {
    event.preventDefault();
    this.toggleAttribute("data-drop", isOver);
  }

  #onDrop(event) {
    this.#onDrag(event, false);
    this.#given(event.dataTransfer);
  }

  /** What is pasted anywhere but into a field is a file, its text or a command; no config.json is typed into its own. */
  #onPaste(event) {
    const isJson = event.clipboardData.getData("text").trimStart().startsWith("{");
    const field = event.target.closest?.("input, textarea, [contenteditable]");
    if (field && (field.dataset.key !== "config" || isJson)) return;
    if (this.#given(event.clipboardData)) event.preventDefault();
  }

  /** Reads files or a text that a reader drops or pastes; whether there is anything to read. */
  #given(transfer) {
    const files = [...transfer.files];
    const text = files.length ? "" : transfer.getData("text");
    if (files.some(isData) && !this.#isFigure) void this.#readData(files.find(isData));
    else if (files.length || text) void this.#open(files.length ? files : [new File([text], "")]);
    return files.length > 0 || text !== "";
  }

  /** Plans what a trainer's files say. */
  async #open(files) {
    await this.#read("project.page.open_files", { files: await Promise.all(files.map(contentOf)), state: this.state });
  }

  /** Shows what Python read, and how, or why it cannot. */
  async #read(question, value) {
    const answer = await planner.ask(question, value);
    if (!answer) return;
    const { state, text, problem } = answer;
    const note = this.querySelector("[data-read]");
    note.textContent = problem || text;
    note.hidden = false;
    note.classList.toggle("field-error", problem !== "");
    if (state) this.go(state);
  }

  /** Reads a file of data in this page; its rows, and how long they are, become the reader's data. */
  async #readData(file) {
    if (!file) return;
    const isTooLong = file.size > MOST_DATA_BYTES;
    const text = isTooLong ? "" : await file.text();
    const { tokens, problem } = isTooLong
      ? { tokens: "", problem: TOO_LONG }
      : ((await planner.ask("project.page.read_file", { name: file.name, text })) ?? { tokens: "", problem: "Python failed." });
    this.#dataProblem = problem;
    if (tokens) this.edit({ tokens });
    else this.#showDataProblem();
  }

  /** What is wrong with a file of data stays until the reader gives other data. */
  #showDataProblem() {
    if (!this.#dataProblem) return;
    const slot = this.querySelector('[data-error="tokens"]');
    slot.hidden = false;
    slot.textContent = this.#dataProblem;
  }
}

customElements.define("memory-planner", MemoryPlanner);

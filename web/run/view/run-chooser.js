/**
 * `<run-chooser>`: which run to look at, and which one to lay beside it: of this runner, of this
 * page, a recording, or a file. It announces a choice with the event "choose", `detail` {kind, name}
 * or {kind: "file", files} (`file` for one); the other one with "compare", `detail` {kind, name}, kind "none" for none.
 */

import { EXPECTED } from "../log-files.js";
import { dayText } from "../../figures/number.js";

/**
 * @typedef {object} Choices
 * @property {import("../runner.js").RunInfo[]} runs of the runner
 * @property {import("../page-runs.js").PageRun[]} own runs of this page
 * @property {import("../replay.js").Recording[]} recordings
 * @property {import("../watch.js").Source} source what is shown now
 * @property {import("../watch.js").Source} beside what is laid beside it
 */

export class RunChooser extends HTMLElement {
  #main = null;
  #beside = null;
  #painted = "";

  connectedCallback() {
    if (this.#main) return;
    this.#main = this.#select("Run", "choose");
    this.#beside = this.#select("Compare with", "compare");
    this.replaceChildren(this.#main.parentElement, this.#beside.parentElement, this.#fileButton());
  }

  /** @param {Choices} choices */
  show({ runs, own, recordings, source, beside }) {
    const listed = [runs.map((r) => [r.id, r.status]), own.map((r) => [r.id, r.title])];
    const painted = JSON.stringify([listed, recordings, source, beside]);
    if (painted === this.#painted || !this.#main) return;
    this.#painted = painted;
    const groups = (chosen) => [
      ...group("On this machine", runs.map((run) => [`live:${run.id}`, liveText(run), run.problem]), chosen),
      ...group("Trained in this page", own.map((run, index) => [`page:${run.id}`, `${index + 1} · ${run.title}`]), chosen),
      ...group("Recorded", recordings.map(({ name, title }) => [`recording:${name}`, title]), chosen),
    ];
    const file = source.kind === "file" ? [option(`file:${source.name}`, source.name, true)] : [];
    const none = source.kind === "none" ? [option("", "Choose a run", true)] : [];
    this.#main.replaceChildren(...none, ...file, ...groups(keyOf(source)));
    this.#beside.replaceChildren(option("none:", "nothing", beside.kind === "none"), ...groups(keyOf(beside)));
    this.#beside.parentElement.hidden = source.kind === "none";
  }

  #select(text, event) {
    const label = Object.assign(document.createElement("label"), { className: "run-choice faint" });
    const select = Object.assign(document.createElement("select"), { className: "field-input" });
    select.addEventListener("change", () => this.#chosen(select.value, event));
    label.append(text, select);
    return select;
  }

  #chosen(value, event) {
    const [kind, ...name] = value.split(":");
    if (kind === "file" || kind === "") return;
    this.#announce(event, { kind, name: name.join(":") });
  }

  #fileButton() {
    const input = Object.assign(document.createElement("input"), { type: "file", hidden: true });
    input.multiple = true; // event files of one run; of any ending, because those of TensorBoard have none
    input.addEventListener("change", () => {
      if (input.files.length) this.#announce("choose", { kind: "file", files: [...input.files] });
      input.value = "";
    });
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.className = "button-link";
    button.textContent = "Open a log file";
    button.title = EXPECTED;
    button.addEventListener("click", () => input.click());
    const holder = Object.assign(document.createElement("span"), { className: "run-file" });
    holder.append(button, input);
    return holder;
  }

  #announce(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail, bubbles: true }));
  }
}

function keyOf({ kind, name }) {
  return `${kind}:${name}`;
}

function group(label, entries, chosen) {
  if (entries.length === 0) return [];
  const element = Object.assign(document.createElement("optgroup"), { label });
  const options = entries.map(([value, text, problem = ""]) =>
    Object.assign(option(value, text, value === chosen), { disabled: problem !== "" }));
  element.append(...options);
  return [element];
}

function option(value, text, selected) {
  return new Option(text, value, selected, selected);
}

function liveText(run) {
  if (run.problem) return [run.id, run.problem].filter(Boolean).join(" · ");
  return [run.model || run.id, dayText(run.started), run.status].join(" · ");
}

customElements.define("run-chooser", RunChooser);

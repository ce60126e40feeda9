/**
 * `<run-chooser>`: which run to look at: one of this runner, a recording, or a file. It announces a
 * choice with the event "choose", `detail` {kind, name} or {kind: "file", file}.
 */

import { dayText } from "./run-number.js";

export class RunChooser extends HTMLElement {
  #select = null;
  #painted = "";

  connectedCallback() {
    if (this.#select) return;
    const label = Object.assign(document.createElement("label"), { className: "run-choice" });
    this.#select = document.createElement("select");
    this.#select.addEventListener("change", () => this.#chosen());
    label.append("Run", this.#select);
    this.replaceChildren(label, this.#fileButton());
  }

  /**
   * @param {import("../run/runner.js").RunInfo[]} runs
   * @param {import("../run/recordings.js").Recording[]} recordings
   * @param {import("../run/watch.js").Source} source what is shown now
   */
  show(runs, recordings, source) {
    const painted = JSON.stringify([runs.map((r) => [r.id, r.status]), recordings, source]);
    if (painted === this.#painted || !this.#select) return;
    this.#painted = painted;
    this.#select.replaceChildren(
      ...(source.kind === "none" ? [option("", "Choose a run", true)] : []),
      ...(source.kind === "file" ? [option(`file:${source.name}`, source.name, true)] : []),
      ...group("On this machine", runs.map((run) => liveOption(run, source))),
      ...group("Recorded", recordings.map((r) => recordingOption(r, source))),
    );
  }

  #chosen() {
    const [kind, ...name] = this.#select.value.split(":");
    if (kind === "live" || kind === "recording") this.#announce({ kind, name: name.join(":") });
  }

  #fileButton() {
    const input = Object.assign(document.createElement("input"), { type: "file", hidden: true });
    input.accept = ".jsonl,application/jsonl";
    input.addEventListener("change", () => {
      if (input.files[0]) this.#announce({ kind: "file", file: input.files[0] });
      input.value = "";
    });
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.className = "run-button";
    button.textContent = "Open a log file";
    button.addEventListener("click", () => input.click());
    const holder = Object.assign(document.createElement("span"), { className: "run-file" });
    holder.append(button, input);
    return holder;
  }

  #announce(detail) {
    this.dispatchEvent(new CustomEvent("choose", { detail, bubbles: true }));
  }
}

function group(label, options) {
  if (options.length === 0) return [];
  const element = Object.assign(document.createElement("optgroup"), { label });
  element.append(...options);
  return [element];
}

function option(value, text, selected) {
  return new Option(text, value, selected, selected);
}

function liveOption(run, source) {
  const text = [run.model || run.id, dayText(run.started), run.status].join(" · ");
  return option(`live:${run.id}`, text, source.kind === "live" && source.name === run.id);
}

function recordingOption({ name, title }, source) {
  return option(`recording:${name}`, title, source.kind === "recording" && source.name === name);
}

customElements.define("run-chooser", RunChooser);

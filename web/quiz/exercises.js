/** The exercises of the quiz that the planner's Python makes and judges: one to compute, one to find a fault in. */

import { loadingText } from "../planner/status-line.js";
import { planner } from "../python/planner-client.js";
import { toDom } from "../figures/vnode.js";
import { fill } from "./article-quiz.js";
import { helpView, jobView } from "./exercise-view.js";

/**
 * `<compute-it data-seed data-next>`: a job to work out. The first is printed, with its hints and
 * its answer; the planner's Python judges what the reader types, and makes other jobs.
 */
class ComputeIt extends HTMLElement {
  connectedCallback() {
    if (this.verdict) return;
    this.verdict = this.querySelector(".exercise-verdict");
    this.input = this.querySelector("input");
    this.announcer = this.appendChild(announcer());
    this.addEventListener("submit", (event) => this.#check(event));
    this.querySelector(".quiz-more button").addEventListener("click", () => this.#another());
  }

  async #check(event) {
    event.preventDefault();
    const { seed } = this.dataset;
    const asked = { seed: Number(seed), text: this.input.value };
    const found = await askPlanner("exercises.judge", asked, (text) => this.#showVerdict(text));
    if (!found || seed !== this.dataset.seed) return;
    this.#showVerdict(found.text, found.standing);
    if (found.standing === "right") this.querySelector(".exercise-answer").open = true;
  }

  async #another() {
    const status = this.querySelector(".quiz-more [role=status]");
    const seed = Number(this.dataset.next);
    const exercise = await askPlanner("exercises.exercise", { seed }, (text) => (status.textContent = text));
    if (!exercise) return;
    this.dataset.seed = exercise.seed;
    this.dataset.next = exercise.next;
    this.querySelector(".exercise-job").replaceWith(toDom(jobView(exercise)));
    this.querySelector(".exercise-help").replaceWith(toDom(helpView(exercise)));
    this.input.value = "";
    this.#showVerdict("");
    const given = exercise.given.map(([name, value]) => `${name}: ${value}.`);
    this.announcer.textContent = [...given, exercise.question].join(" ");
  }

  #showVerdict(text, standing = "") {
    this.verdict.textContent = text;
    this.verdict.dataset.is = standing;
  }
}

/**
 * `<find-the-lie data-next>`: a job, what a calculator answers for it, and a question about what it
 * left out. The first is printed; the planner's Python makes others.
 */
class FindTheLie extends HTMLElement {
  connectedCallback() {
    if (this.status) return;
    this.status = this.querySelector(".quiz-more [role=status]");
    this.announcer = this.appendChild(announcer());
    this.querySelector(".quiz-more button").addEventListener("click", () => this.#another());
  }

  async #another() {
    const seed = Number(this.dataset.next);
    const lie = await askPlanner("exercises.lie", { seed }, (text) => (this.status.textContent = text));
    if (!lie) return;
    this.dataset.next = lie.next;
    this.querySelector(".quiz-story").textContent = lie.story;
    fill(this.querySelector("fieldset"), lie);
    this.announcer.textContent = lie.story;
  }
}

/**
 * Asks the planner's Python, and reports its progress while the reader waits.
 * @param {string} name a question of `unfrozen.ask`
 * @param {unknown} value its argument
 * @param {(text: string) => void} report gets what Python is doing; an empty text when it has answered
 * @returns {Promise<object | null>} null when Python failed, which was reported, or a newer question of
 *   this name took its place
 */
async function askPlanner(name, value, report) {
  const update = () => report(statusText(planner.status));
  planner.addEventListener("status", update);
  const answer = planner.ask(name, value);
  update();
  const found = await answer;
  planner.removeEventListener("status", update);
  update();
  return found;
}

/** A live region that announces another question to screen readers. */
function announcer() {
  const element = Object.assign(document.createElement("p"), { className: "visually-hidden" });
  element.setAttribute("role", "status");
  return element;
}

function statusText(status) {
  if (status.phase === "failed") return `${status.reason} Press the button again to try again.`;
  return status.phase === "loading" ? loadingText(status) : "";
}

customElements.define("compute-it", ComputeIt);
customElements.define("find-the-lie", FindTheLie);

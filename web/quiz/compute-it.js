/**
 * `<compute-it data-seed data-next>`: a job to work out. The first is printed, with its hints and
 * its answer; the planner's Python judges what the reader types, and makes other jobs.
 */

import { announcer, askPlanner } from "./ask-python.js";
import { helpView, jobView } from "./exercise-view.js";
import { toDom } from "../figures/vnode.js";

export class ComputeIt extends HTMLElement {
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
    const found = await askPlanner("judge", asked, (words) => this.#say(words));
    if (!found || seed !== this.dataset.seed) return;
    this.#say(found.text, found.standing);
    if (found.standing === "right") this.querySelector(".exercise-answer").open = true;
  }

  async #another() {
    const status = this.querySelector(".quiz-more [role=status]");
    const seed = Number(this.dataset.next);
    const exercise = await askPlanner("exercise", { seed }, (words) => (status.textContent = words));
    if (!exercise) return;
    this.dataset.seed = exercise.seed;
    this.dataset.next = exercise.next;
    this.querySelector(".exercise-job").replaceWith(toDom(jobView(exercise)));
    this.querySelector(".exercise-help").replaceWith(toDom(helpView(exercise)));
    this.input.value = "";
    this.#say("");
    const given = exercise.given.map(([name, value]) => `${name}: ${value}.`);
    this.announcer.textContent = [...given, exercise.question].join(" ");
  }

  #say(words, standing = "") {
    this.verdict.textContent = words;
    this.verdict.dataset.is = standing;
  }
}

customElements.define("compute-it", ComputeIt);

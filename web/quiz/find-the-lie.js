/**
 * `<find-the-lie data-next>`: a job, what a calculator answers for it, and a question about what it
 * left out. The first is printed; the planner's Python makes others.
 */

import { fill } from "./article-quiz.js";
import { announcer, askPlanner } from "./ask-python.js";

export class FindTheLie extends HTMLElement {
  connectedCallback() {
    if (this.status) return;
    this.status = this.querySelector(".quiz-more [role=status]");
    this.announcer = this.appendChild(announcer());
    this.querySelector(".quiz-more button").addEventListener("click", () => this.#another());
  }

  async #another() {
    const seed = Number(this.dataset.next);
    const lie = await askPlanner("lie", { seed }, (words) => (this.status.textContent = words));
    if (!lie) return;
    this.dataset.next = lie.next;
    this.querySelector(".quiz-story").textContent = lie.story;
    fill(this.querySelector("fieldset"), lie);
    this.announcer.textContent = lie.story;
  }
}

customElements.define("find-the-lie", FindTheLie);

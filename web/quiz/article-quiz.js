/** The quiz: questions with options, and exercises that the planner's Python makes and judges. */

import { loadingText } from "../planner/status-line.js";
import { planner } from "../python/planner-client.js";
import { make } from "../figures/tools.js";
import { toDom } from "../figures/vnode.js";
import { helpView, jobView } from "./exercise-view.js";

/**
 * `<article-quiz>`: questions as fieldsets of radio buttons. As printed, each has a fold that explains
 * every option; live, it shows the explanation of the chosen option at once. It has no score, and
 * stores and sends nothing.
 */
class ArticleQuiz extends HTMLElement {
  connectedCallback() {
    if (this.isLive) return;
    this.isLive = true;
    this.addEventListener("change", ({ target }) => showExplanation(target));
    this.querySelectorAll(":checked").forEach(showExplanation); // chosen before this came alive
  }
}

/** Shows the explanation of one option under its question. */
function showExplanation(chosen) {
  const question = chosen.closest("fieldset");
  const place = [...question.querySelectorAll("input")].indexOf(chosen);
  const explanation = question.querySelectorAll("details li")[place];
  const answer = question.querySelector(".quiz-explanation");
  answer.replaceChildren(...explanation.cloneNode(true).childNodes);
  answer.dataset.is = "right" in explanation.dataset ? "right" : "wrong";
}

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
  return make("p", { className: "visually-hidden", role: "status" });
}

function statusText(status) {
  if (status.phase === "failed") return `${status.reason} Press the button again to try again.`;
  return status.phase === "loading" ? loadingText(status) : "";
}

customElements.define("article-quiz", ArticleQuiz);
customElements.define("compute-it", ComputeIt);

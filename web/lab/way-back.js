/**
 * The way back from a fine-tune: exact match of θ₀ + α(θ* − θ₀). Nothing is trained. What is on the slider's stops is scored ahead, one stop at a time, so that the bars follow the hand.
 */

import { trainer } from "../run/page-trainer.js";
import { toDom } from "../figures/vnode.js";
import { barsView, STOPS } from "./view.js";

export class WayBack {
  #place;
  #scores = new Map(); // α → what `blend` resolved to
  #run = "";
  #exact = {}; // of the run, by set: {before, after}
  #onMove;

  /**
   * @param {HTMLElement} place drawn by `wayBackView`
   * @param {() => void} onMove is called when another mixture was chosen
   */
  constructor(place, onMove) {
    this.#place = place;
    this.#onMove = onMove;
    place.querySelector("input").addEventListener("input", () => this.#move());
  }

  /** The share of the way from before to after training. */
  get alpha() {
    return this.#place.hidden ? 1 : Number(this.#input.value);
  }

  get #input() {
    return this.#place.querySelector("input");
  }

  /** A run has begun, has ended or is gone; `run` is the newest of this page. */
  show(run) {
    const exact = run?.end?.summary?.exact;
    const isHere = Boolean(exact) && run.over && !run.saved && trainer.status.phase === "ready";
    if (isHere && this.#run !== run.id) this.#reset(run.id, exact);
    this.#place.hidden = !isHere;
    if (!isHere) this.#run = "";
  }

  /**
   * Moves the slider and scores that model.
   * @returns {Promise<{losses: object, exact: object, problem: string}>} never rejects
   */
  async blend(alpha) {
    const answer = this.#scores.get(alpha) ?? (await trainer.blend(alpha));
    if (answer.problem || this.#place.hidden) return answer;
    this.#scores.set(alpha, answer);
    this.#input.step = "any";
    this.#input.value = alpha;
    this.#input.step = 1 / STOPS;
    this.#move();
    return answer;
  }

  #reset(id, exact) {
    this.#run = id;
    this.#exact = exact;
    this.#scores.clear();
    this.#input.value = 1;
    this.#draw();
    void this.#scoreAhead();
  }

  /** Scores every stop, the nearest first. */
  async #scoreAhead() {
    const run = this.#run;
    const stops = Array.from({ length: STOPS + 1 }, (_, stop) => (STOPS - stop) / STOPS);
    for (const alpha of stops) {
      if (this.#run !== run || trainer.status.phase !== "ready") return;
      await this.#score(alpha);
    }
  }

  async #score(alpha) {
    if (this.#scores.has(alpha)) return;
    const run = this.#run;
    const answer = await trainer.blend(alpha);
    if (answer.problem || this.#run !== run) return;
    this.#scores.set(alpha, answer);
    if (alpha === this.alpha) this.#draw();
  }

  #move() {
    this.#draw();
    this.#onMove();
  }

  #draw() {
    const { alpha } = this;
    this.#place.querySelector("output").textContent = alpha;
    const found = this.#scores.get(alpha);
    const status = this.#place.querySelector(".page-run-back-status");
    if (!found) {
      status.textContent = "Scoring …";
      return void this.#score(alpha);
    }
    const sets = Object.entries(this.#exact).map(([suite, { before }]) => [suite, { before, now: found.exact[suite] }]);
    this.#place.querySelector(".page-run-bars").replaceChildren(...barsView(Object.fromEntries(sets)).map((node) => toDom(node)));
    const { task, general } = found.exact;
    status.textContent = `α = ${alpha}: ${task.right} of ${task.of} right on the task, ${general.right} of ${general.of} on what it knew.`;
  }
}

/**
 * The way back from a fine-tune: exact match of θ₀ + α(θ* − θ₀), with parts of the model put back to θ₀. Nothing is
 * trained. What is on the slider's stops is scored ahead, one stop at a time, so that the bars follow the hand.
 */

import { trainer } from "../run/page-trainer.js";
import { toDom } from "../figures/vnode.js";
import { barsView, partName, STOPS } from "./view.js";

export class WayBack {
  #place;
  #back = new Set();
  #scores = new Map(); // stop and parts → what `blend` resolved to
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
    place.querySelector(".chips").addEventListener("click", ({ target }) => this.#togglePart(target.closest("[data-part]")));
  }

  /** The share of the way from before to after training, and the parts put back. */
  get mix() {
    return this.#place.hidden ? { alpha: 1, back: [] } : { alpha: Number(this.#input.value), back: [...this.#back].sort() };
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
    const { back } = this.mix;
    const key = keyOf({ alpha, back });
    const answer = this.#scores.get(key) ?? (await trainer.blend(alpha, back));
    if (answer.problem || this.#place.hidden) return answer;
    this.#scores.set(key, answer);
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
    this.#back.clear();
    for (const chip of this.#place.querySelectorAll("[data-part]")) chip.setAttribute("aria-pressed", "false");
    this.#input.value = 1;
    this.#draw();
    void this.#scoreAhead();
  }

  #togglePart(chip) {
    if (!chip) return;
    const { part } = chip.dataset;
    if (!this.#back.delete(part)) this.#back.add(part);
    chip.setAttribute("aria-pressed", String(this.#back.has(part)));
    this.#move();
    void this.#scoreAhead();
  }

  /** Scores every stop with the parts as they are put back, the nearest first. */
  async #scoreAhead() {
    const [run, parts] = [this.#run, [...this.#back].sort().join()];
    const stops = Array.from({ length: STOPS + 1 }, (_, stop) => (STOPS - stop) / STOPS);
    for (const alpha of stops) {
      if (this.#run !== run || this.mix.back.join() !== parts || trainer.status.phase !== "ready") return;
      await this.#score({ alpha, back: this.mix.back });
    }
  }

  async #score(mix) {
    const key = keyOf(mix);
    if (this.#scores.has(key)) return;
    const run = this.#run;
    const answer = await trainer.blend(mix.alpha, mix.back);
    if (answer.problem || this.#run !== run) return;
    this.#scores.set(key, answer);
    if (key === keyOf(this.mix)) this.#draw();
  }

  #move() {
    this.#draw();
    this.#onMove();
  }

  #draw() {
    const mix = this.mix;
    this.#place.querySelector("output").textContent = mix.alpha;
    const found = this.#scores.get(keyOf(mix));
    const status = this.#place.querySelector(".page-run-back-status");
    if (!found) {
      status.textContent = "Scoring …";
      return void this.#score(mix);
    }
    const sets = Object.entries(this.#exact).map(([suite, { before }]) => [suite, { before, now: found.exact[suite] }]);
    this.#place.querySelector(".page-run-bars").replaceChildren(...barsView(Object.fromEntries(sets)).map((node) => toDom(node)));
    const { task, general } = found.exact;
    const without = mix.back.length ? ` without what training made of ${mix.back.map(partName).join(", ")}` : "";
    status.textContent = `α = ${mix.alpha}${without}: ${task.right} of ${task.of} right on the task, ${general.right} of ${general.of} on what it knew.`;
  }
}

function keyOf({ alpha, back }) {
  return JSON.stringify([alpha, back]);
}

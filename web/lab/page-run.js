/**
 * `<page-run>`: a full fine-tune of the demo model in the page.
 *
 * Properties `choices` (an object: `lr`, `steps`, `seed`, `replay_share`, `l2sp`, `ewc`,
 * `weight_decay`) and `state`, the folded run as `<run-view>` has it; methods `start()` → a promise
 * of `{ok, status, losses, exact, problem}`, `stop()`, `ask(prompt)` → a promise of `{before, after, …}`, `blend(alpha)` →
 * one of `{losses, exact, problem}` of θ₀ + α(θ* − θ₀) after a run, see `unfrozen.lab.session`. `exact` holds, by set,
 * `{before, after}` of a run, each `{right, does_not_stop, wrong, of}` in rows; of a blend, the latter alone. The rest
 * of it is loaded when it comes near the viewport, or is called.
 */

import { emptyRun } from "../run/fold.js";
import { whenNearViewport } from "../page/visibility.js";

export class PageRun extends HTMLElement {
  #live = null;
  #loading = null;
  #given = {};

  connectedCallback() {
    void whenNearViewport(this).then(() => this.#load());
  }

  get choices() {
    const defaults = this.#view().dials.map(({ name, stops, at }) => [name, stops[at]]);
    return this.#live?.choices ?? { ...Object.fromEntries(defaults), ...this.#given };
  }

  set choices(given) {
    if (this.#live) this.#live.choices = given;
    else this.#given = { ...given };
  }

  get state() {
    return this.#live?.state ?? emptyRun();
  }

  async start() {
    return (await this.#load()).start();
  }

  stop() {
    this.#live?.stop();
  }

  async ask(prompt) {
    return (await this.#load()).ask(prompt);
  }

  async blend(alpha) {
    return (await this.#load()).blend(alpha);
  }

  #view() {
    return JSON.parse(this.querySelector("script.data").textContent);
  }

  #load() {
    this.#loading ??= import("./live.js").then(({ LivePageRun }) => {
      this.#live = new LivePageRun(this, this.#view());
      this.#live.choices = this.#given;
      return this.#live;
    });
    return this.#loading;
  }
}

customElements.define("page-run", PageRun);

/**
 * Cuts text that comes in pieces into lines. Of a line that is longer than an event can be, its start
 * is kept, enough to be refused by: a line of 50 MB takes no more room than its newline.
 */

/* global LINE_MOST -- written in by web/press/assets.py: of an event's line, in `unfrozen.frontier.log` */

const FIELD = 64; // of a line of server-sent events: "data: " before what it carries

export class LineCutter {
  #rest = "";

  /** Whether a line has begun that has no end yet. */
  get isInside() {
    return this.#rest !== "";
  }

  /**
   * @param {string} text the next piece
   * @returns {string[]} the lines that are whole with it, without their newlines
   */
  push(text) {
    const kept = LINE_MOST + FIELD;
    const [first, ...others] = text.split("\n");
    if (this.#rest.length < kept) this.#rest += first;
    if (this.#rest.length > kept) this.#rest = this.#rest.slice(0, kept);
    if (others.length === 0) return [];
    const lines = [this.#rest, ...others];
    this.#rest = lines.pop();
    return lines;
  }
}

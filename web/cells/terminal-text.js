/**
 * Reads printed text as a terminal does: colours and cursor codes are not shown, a carriage return
 * goes back to the start of the line, a backspace one step.
 *
 *   "10 %\r20 %\n"  ─▶  {back: 0, text: "20 %\n"}         what is printed at once
 *   "10 %", "\r20 %"  ─▶  the second: {back: 4, text: "20 %"}   four characters are taken back
 */

// CSI (colours, cursor), OSC (titles, links) with either end, and two-character escapes.
const CODES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,500}\x1b?|[ -/]*)?$/;
const MOVES = /[\r\b]/;

export class TerminalText {
  #rest = ""; // of a code whose end has not come yet
  #line = []; // characters of the last line
  #at = 0; // of the cursor in it

  /**
   * @param {string} piece as printed
   * @returns {{back: number, text: string}} how many characters of the last line to take back, and
   *   what to append then
   */
  read(piece) {
    const all = this.#rest + piece;
    this.#rest = UNFINISHED.exec(all)?.[0] ?? "";
    const text = all.slice(0, all.length - this.#rest.length).replace(CODES, "");
    const isPlain = this.#at === this.#line.length && !MOVES.test(text);
    return isPlain ? this.#appended(text) : this.#moved(text);
  }

  #appended(text) {
    const start = text.lastIndexOf("\n") + 1;
    if (start > 0) this.#line = [];
    for (const unit of text.slice(start).split("")) this.#line.push(unit);
    this.#at = this.#line.length;
    return { back: 0, text };
  }

  #moved(text) {
    const before = this.#line.join("");
    const lines = [];
    for (const unit of text.split("")) {
      if (unit === "\n") {
        lines.push(this.#line.join(""));
        this.#line = [];
        this.#at = 0;
      } else if (unit === "\r") this.#at = 0;
      else if (unit === "\b") this.#at = Math.max(0, this.#at - 1);
      else this.#line[this.#at++] = unit;
    }
    const after = [...lines, this.#line.join("")].join("\n");
    let same = 0;
    while (same < before.length && before[same] === after[same]) same += 1;
    return { back: before.length - same, text: after.slice(same) };
  }
}

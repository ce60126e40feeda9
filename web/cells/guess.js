/**
 * What the reader expects of a cell, typed before the run and shown beside its result. While they
 * type, a result they have not asked for is covered (see cells.css); nothing waits for a guess.
 */

export class CellGuess {
  /** The guess of a cell, or null where its info string asks for none. @param {HTMLElement} cell */
  static of(cell) {
    const line = cell.querySelector(":scope > .cell-guess");
    return line && new CellGuess(cell, line);
  }

  constructor(cell, line) {
    this.key = line.dataset.guess;
    this.input = line.querySelector("input");
    this.said = Object.assign(document.createElement("p"), { className: "cell-guessed" });
    this.said.setAttribute("role", "status");
    cell.append(this.said);
    this.input.addEventListener("keydown", ({ key }) => key === "Enter" && cell.run());
  }

  /** What was typed, to go with a run; undefined where nothing was. */
  get given() {
    const text = this.input.value.trim();
    return text ? { key: this.key, text } : undefined;
  }

  /** Python's comparison of guess and result; an empty text takes it away. */
  say(text) {
    this.said.textContent = text;
  }
}

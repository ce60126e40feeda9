// What a visitor does in the page and notes of it; visitor.py puts it there as `window.visit`.
({
  made() {
    const script = "script:not([type='application/json'])"; // a figure near the reader takes its data
    return document.querySelectorAll(`img, iframe, ${script}, link, meta, object, embed`).length;
  },

  watch() {
    this.troubles = [];
    this.atFirst = this.made();
    const note = (what) => this.troubles.push(String(what));
    addEventListener("error", ({ message, target }) => note(message ?? target?.outerHTML), true);
    addEventListener("unhandledrejection", ({ reason }) => note(reason));
    addEventListener("securitypolicyviolation", ({ blockedURI }) => note(`policy: ${blockedURI}`));
  },

  async run(id, code, seconds) {
    const cell = document.getElementById(id);
    cell.code = code;
    const late = new Promise((end) => setTimeout(() => end({ hangs: true }), seconds * 1000));
    const ended = await Promise.race([cell.run(), late]);
    const text = (slot) => cell.querySelector(`.cell-output > ${slot}`)?.textContent ?? "";
    const bar = document.querySelector("python-status");
    const shown = { message: text(".cell-message"), note: text(".cell-note"), overflow: text(".cell-overflow") };
    const status = cell.querySelector(".cell-status").textContent;
    return { hangs: false, ...ended, ...shown, status, bar: bar.textContent, phase: bar.dataset.phase };
  },

  /** What the cells show beside the one that attacks. */
  others(id) {
    const others = [...document.querySelectorAll("live-cell")].filter((cell) => cell.id !== id);
    return others.map((cell) => {
      const figures = [...cell.querySelectorAll("data-table, data-plot")];
      const data = figures.map((figure) => JSON.stringify(figure.data));
      return [cell.id, cell.querySelector(".cell-output").textContent, ...data].join("\n");
    });
  },

  harm() {
    const troubles = this.troubles.splice(0);
    const more = this.made() - this.atFirst;
    if (more !== 0) troubles.push(`${more} elements were made`);
    if (document.querySelector(".cell-output a")) troubles.push("a link was made");
    return troubles;
  },
});

/** When work is done: near the visible part of the page, and in tasks short enough for the reader's input. */

/** Resolves once `element` is less than a screen or so away from what the reader sees. */
export function nearTheWindow(element) {
  return new Promise((resolve) => {
    const watcher = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        watcher.disconnect();
        resolve();
      },
      { rootMargin: "1200px" },
    );
    watcher.observe(element);
  });
}

// Long work in short pieces, one piece a task, so that the page answers the reader in between.
let last = Promise.resolve();

/** Resolves in a task of its own, after those that were asked for before. @returns {Promise<void>} */
export function turn() {
  last = last.then(() => new Promise((resolve) => setTimeout(resolve)));
  return last;
}

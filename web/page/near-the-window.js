/** What a reader may never reach is fetched and drawn only when they come near. */

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

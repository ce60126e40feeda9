/** Resolves once `element` is about a screen away from the visible part of the page, or nearer. */
export function whenNearViewport(element) {
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

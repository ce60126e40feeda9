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

const REST_MS = 120; // a pointer that only passes does not rest

/**
 * Resolves once the reader is about to use `element`: the pointer rests on it, a finger touches it or focus enters it.
 * Never where the browser is to save data.
 */
export function whenApproached(element) {
  if (navigator.connection?.saveData) return new Promise(() => {});
  return new Promise((resolve) => {
    let resting = 0;
    const listening = new AbortController();
    const listen = (kind, act) => element.addEventListener(kind, act, { signal: listening.signal, passive: true });
    const approach = () => {
      clearTimeout(resting);
      listening.abort();
      resolve();
    };
    listen("pointerenter", () => (resting = setTimeout(approach, REST_MS)));
    listen("pointerleave", () => clearTimeout(resting));
    listen("touchstart", approach);
    listen("focusin", approach);
  });
}

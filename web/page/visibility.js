const waiting = new Map(); // element → functions to call once it is near
let near = null;

function arrive(entries) {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    for (const resolve of waiting.get(target)) resolve();
    waiting.delete(target);
  }
}

/** Resolves once `element` is about a screen away from the visible part of the page, or nearer. */
export function whenNearViewport(element) {
  return new Promise((resolve) => {
    if (waiting.has(element)) waiting.get(element).push(resolve);
    else waiting.set(element, [resolve]);
    near ??= new IntersectionObserver(arrive, { rootMargin: "1200px" });
    near.observe(element);
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

const IDLE_MS = 2000; // a browser that is never idle goes on after this
const WAITED_MS = 3000;
let putOffUntil = 0;

/** Lays out nothing more for a while: there is something that the reader waits for. */
export function putOffLayOut() {
  putOffUntil = performance.now() + WAITED_MS;
}

/** Lays out chapters, cells and figures far from the window, each in a task of its own, as soon as the browser has nothing else to do. */
export async function layOut() {
  const idle = () =>
    new Promise((resolve) => (globalThis.requestIdleCallback ?? setTimeout)(resolve, { timeout: IDLE_MS }));
  for (const element of document.querySelectorAll(".chapter, .chapter > :is(live-cell, .figure, .accuracy-frame)")) {
    await idle();
    while (performance.now() < putOffUntil) await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
    element.classList.add("is-laid-out");
    element.getBoundingClientRect(); // now: the next frame only paints
  }
}

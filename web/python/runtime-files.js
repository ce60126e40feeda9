/**
 * What an interpreter is made of, fetched by the page and kept for every start of this visit.
 *
 *   pyodide/pyodide.asm.wasm   ─ streamed, counted, compiled ─┐
 *   pyodide/python_stdlib.zip  ─ streamed, counted ───────────┼─▶ Files, for any worker
 *   python/unfrozen.zip        ─ fetched ─────────────────────┘
 *
 * No worker with reader code in it fetches or hands back any of this: the planner's interpreter is
 * made of what the site sent, whatever a cell has done to the reader's own.
 */

import { BootError, orExplain } from "./exit-reasons.js";

/* global RUNTIME_BYTES -- written in by web/site_builder/assets.py: bytes by name of what it ships */

const DOWNLOAD_SILENCE_MS = 30_000; // no byte for that long: the connection is dead

/** @typedef {{module: WebAssembly.Module, stdlib: ArrayBuffer, core: ArrayBuffer}} Files */

/** What a start fetches besides the packages, before any compression. */
export const FIRST_BYTES = Object.values(RUNTIME_BYTES).reduce((sum, bytes) => sum + bytes, 0);

/**
 * Fetches what an interpreter is made of.
 * @param {(ratio: number) => void} onProgress share of the bytes that have arrived, 0 … 1
 * @param {AbortSignal} [signal] ends the download
 * @returns {Promise<Files>}
 */
export async function fetchFiles(onProgress, signal) {
  const site = new URL("../", import.meta.url); // scripts and workers lie one folder deep
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / FIRST_BYTES));
  const [module, stdlib, core] = await Promise.all([
    compile(new URL("pyodide/pyodide.asm.wasm", site), onBytes, signal),
    fetchBytes(new URL("pyodide/python_stdlib.zip", site), onBytes, { signal }),
    fetchBytes(new URL("python/unfrozen.zip", site), () => {}, { signal }),
  ]);
  return { module, stdlib, core };
}

async function compile(url, onBytes, signal) {
  const answer = await fetchCounted(url, onBytes, { signal });
  return orExplain(
    "This browser refused to compile WebAssembly, which Python needs here. A content policy, " +
      "a lockdown mode or an extension may forbid it; allow it for this page and try again",
    () => WebAssembly.compileStreaming(answer),
  );
}

/** One download for every worker of this page that starts Python. */
class Runtime {
  /** @type {Files | null} what has arrived */
  files = null;
  #loading = null;
  #listeners = new Set();

  /**
   * @param {(ratio: number) => void} onProgress called while this download goes on
   * @returns {Promise<Files>} rejects with a BootError; the next call tries again
   */
  load(onProgress) {
    if (this.files) return Promise.resolve(this.files);
    this.#listeners.add(onProgress);
    this.#loading ??= this.#fetch().finally(() => {
      this.#loading = null;
      this.#listeners.clear();
    });
    return this.#loading;
  }

  async #fetch() {
    const tellAll = (ratio) => {
      for (const listener of this.#listeners) listener(ratio);
    };
    return (this.files = await watchDownload(fetchFiles, tellAll));
  }
}

export const runtime = new Runtime();

/**
 * Runs a download, and ends it when nothing arrives for DOWNLOAD_SILENCE_MS.
 * @template T
 * @param {(onProgress: (ratio: number) => void, signal: AbortSignal) => Promise<T>} download
 * @param {(ratio: number) => void} onProgress
 * @param {AbortSignal} [outer] ends it too
 * @returns {Promise<T>}
 */
export async function watchDownload(download, onProgress, outer) {
  const line = new AbortController();
  const silence = new BootError(`Nothing arrived for ${DOWNLOAD_SILENCE_MS / 1000} seconds while Python was loading. Try again.`);
  const end = () => line.abort();
  outer?.addEventListener("abort", end);
  let watchdog = 0;
  const watch = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => line.abort(silence), DOWNLOAD_SILENCE_MS);
  };
  watch();
  try {
    const report = (ratio) => {
      watch();
      onProgress(ratio);
    };
    return await download(report, line.signal);
  } catch (error) {
    line.abort(); // of several files the others
    throw line.signal.reason === silence ? silence : error;
  } finally {
    clearTimeout(watchdog);
    outer?.removeEventListener("abort", end);
  }
}

const INCOMPLETE = "Try again; if it stays so, this copy of the site is incomplete.";

/**
 * Fetches a file and counts its bytes as they arrive.
 * @param {URL} url
 * @param {(bytes: number) => void} onBytes called with the size of each piece
 * @param {RequestInit & {what?: string, remedy?: string}} [options] of `fetch`; the others are the
 *   beginning of a sentence on a failure and the end of one on an answer that is no file
 * @returns {Promise<Response>} a response whose body is still streaming
 */
export async function fetchCounted(url, onBytes, { what = "Python", remedy = INCOMPLETE, ...options } = {}) {
  const name = url.pathname.split("/").filter(Boolean).slice(-2).join("/");
  const answer = await orExplain(offlineReason(what, name), () => fetch(url, options));
  if (!answer.ok) {
    throw new BootError(
      `${what} could not be downloaded: the server answered ${answer.status} for ${name}. ${remedy}`,
    );
  }
  const counter = new TransformStream({
    transform(piece, controller) {
      onBytes(piece.byteLength);
      controller.enqueue(piece);
    },
  });
  const type = url.pathname.endsWith(".wasm") ? "application/wasm" : "application/octet-stream";
  return new Response(answer.body.pipeThrough(counter), { headers: { "content-type": type } });
}

/** Fetches a whole file as `fetchCounted` does. @returns {Promise<ArrayBuffer>} */
export async function fetchBytes(url, onBytes, options = {}) {
  const answer = await fetchCounted(url, onBytes, options);
  const what = options.what ?? "Python";
  return orExplain(`The download of ${what} broke off. Check the connection and try again`, () =>
    answer.arrayBuffer(),
  );
}

function offlineReason(what, name) {
  const where = navigator.onLine === false ? "this device is offline" : `${name} did not arrive`;
  return `${what} could not be downloaded: ${where}. Check the connection and try again`;
}

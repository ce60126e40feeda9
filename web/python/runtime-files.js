/**
 * The files of an interpreter, fetched by a worker of their own (loader.js) and cached for every start of this visit.
 *
 *   pyodide/pyodide.asm.wasm   ─ streamed, counted, compiled ─┐
 *   pyodide/python_stdlib.zip  ─ streamed, counted ───────────┼─▶ Files, for any worker
 *   python/unfrozen.zip        ─ fetched ─────────────────────┤
 *   python/snapshot.bin        ─ fetched where it pays ───────┘
 *
 * No worker that runs reader code fetches or returns any of this: the planner's interpreter is made of what the
 * site sent, whatever a cell has done to its own.
 */

import { SITE, trustedAddress } from "../page/site.js";
import { BootError, BROKEN, orExplain, PACKED } from "./messages.js";

/* global RUNTIME_BYTES, ARCHIVES, PYTHON_HASH -- written in by web/site_builder/assets.py: bytes by name of what it ships,
   checksums of the archives among it, and the hash of all of it */

const DOWNLOAD_TIMEOUT_MS = 30_000; // without a byte
const TELL_MS = 100; // a share that is shown has the page drawn again
const SAVED_MS = 1200; // of a start, by a snapshot
const KNOWN_SHARE = 0.1; // of the files: then the pace of their download is known

/** @typedef {{module: WebAssembly.Module, stdlib: ArrayBuffer, core: ArrayBuffer, snapshot: Blob | null}} Files */

/** Bytes that a start fetches, uncompressed and without packages. */
const FIRST_BYTES = Object.values(RUNTIME_BYTES).reduce((sum, bytes) => sum + bytes, 0);

/**
 * Returns what is true of this host: whether it compresses what it sends, as it has the page and its scripts.
 * @param {{compressed: string, plain: string}} texts
 */
export function textForHost({ compressed, plain }) {
  const sent = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  return sent.some((file) => file.encodedBodySize < file.decodedBodySize) ? compressed : plain;
}

/**
 * Has a worker fetch the files of an interpreter: the end of ten megabytes would hold the page up.
 * @param {(ratio: number) => void} onProgress share of the bytes that have arrived, 0 … 1
 * @param {AbortSignal} signal
 * @returns {Promise<Files>}
 */
async function fetchApart(onProgress, signal) {
  const worker = new Worker(trustedAddress(new URL("python/loader.js", SITE)), { type: "module", name: "loader" });
  const arrived = new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    worker.addEventListener("error", (event) => reject(new BootError(BROKEN), event.preventDefault()));
    worker.addEventListener("message", ({ data: { ratio, files, problem } }) => {
      if (problem) reject(new BootError(problem));
      else if (files) resolve(files);
      else onProgress(ratio);
    });
  });
  return arrived.finally(() => worker.terminate());
}

/**
 * Fetches the files of an interpreter.
 * @param {(ratio: number) => void} onProgress share of the bytes that have arrived, 0 … 1
 * @returns {Promise<Files>}
 */
export async function fetchFiles(onProgress) {
  let loaded = 0;
  const onBytes = (bytes) => onProgress(Math.min(1, (loaded += bytes) / FIRST_BYTES));
  const [module, stdlib, core] = await Promise.all([
    compile(new URL("pyodide/pyodide.asm.wasm", SITE), onBytes),
    fetchWhole("pyodide/python_stdlib.zip", onBytes),
    fetchWhole("python/unfrozen.zip", onBytes),
  ]);
  return { module, stdlib, core, snapshot: null };
}

/** Fetches an archive of which this page knows the content; one that a cache holds in part is asked for again. */
async function fetchWhole(path, onBytes) {
  const [url, name] = [new URL(path, SITE), path.split("/").at(-1)];
  for (const cache of ["default", "reload"]) {
    const bytes = await fetchBytes(url, onBytes, { cache });
    if (checksumOf(bytes) === ARCHIVES[name]) return bytes;
  }
  throw new BootError(`Python could not be loaded: ${name} is not whole, or of another version than this page. Reload the page.`);
}

/**
 * Returns the checksums of all files in a ZIP archive together, however they are packed; −1 for one that is cut. They stand in
 * the directory at its end (PKWARE, APPNOTE.TXT, sections 4.3.12 and 4.3.16), which has no comment here.
 * @param {ArrayBuffer | Uint8Array} bytes
 */
function checksumOf(bytes) {
  const view = ArrayBuffer.isView(bytes) ? new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new DataView(bytes);
  const end = view.byteLength - 22;
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) return -1;
  let sum = 0;
  for (let at = view.getUint32(end + 16, true), left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (at + 46 > end) return -1;
    sum = (sum + view.getUint32(at + 16, true)) % 2 ** 32;
    at += 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return sum;
}

async function compile(url, onBytes) {
  const answer = await fetchCounted(url, onBytes);
  return orExplain(
    "This browser refused to compile WebAssembly, which Python needs here. A content policy, " +
      "a lockdown mode or an extension may forbid it; allow it for this page and try again",
    () => WebAssembly.compileStreaming(answer),
  );
}

/** Downloads the files once for all workers of this page. */
class Runtime {
  /** @type {Files | null} null until they have arrived */
  files = null;
  #loading = null;
  #stored = null; // promise of the snapshot of an earlier visit
  #listeners = new Set();

  /** The memory of an earlier start, known before the files are; a promise of null where there is none. */
  get snapshot() {
    if (this.files) return Promise.resolve(this.files.snapshot);
    return (this.#stored ??= storedSnapshot());
  }

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
    const stored = this.snapshot;
    let shipped = null;
    let begun = 0;
    let tellAt = 0;
    const report = (ratio) => {
      const now = performance.now();
      begun ||= now;
      if (now >= tellAt || ratio === 1) {
        tellAt = now + TELL_MS;
        for (const listener of this.#listeners) listener(ratio);
      }
      if (ratio < KNOWN_SHARE) return;
      const allMs = (now - begun) / ratio; // a snapshot has about as many bytes
      const isOfUse = allMs < SAVED_MS && "Suspending" in WebAssembly; // JSPI, which it was made for
      shipped ??= stored.then((found) => (found || !isOfUse ? null : shippedSnapshot()));
    };
    const files = await watchDownload(fetchApart, report);
    return (this.files = { ...files, snapshot: (await stored) ?? (await shipped) });
  }

  /** Keeps the memory of a start for those that follow, on this visit and the next. @param {Blob} snapshot */
  keep(snapshot) {
    this.files = { ...this.files, snapshot };
    void storeSnapshot(snapshot);
  }
}

export const runtime = new Runtime();

const STORE = "unfrozen-python"; // in Cache Storage: one snapshot of each copy of the site, of the files that made it
const SNAPSHOTS = new URL("python/snapshot-", SITE).href;
const snapshotAddress = `${SNAPSHOTS}${PYTHON_HASH}`;

/** @returns {Promise<Blob | null>} the memory of an interpreter that the build has started; null where it does not come */
async function shippedSnapshot() {
  try {
    const answer = await fetch(new URL("python/snapshot.bin", SITE), { signal: AbortSignal.timeout(2 * SAVED_MS) });
    const snapshot = await answer.blob();
    return answer.ok ? snapshot.slice(0, snapshot.size, PACKED) : null; // a worker unpacks it
  } catch {
    return null; // too slow after all, or broken: Python starts without
  }
}

/** @returns {Promise<Blob | null>} null where there is none, or the browser keeps nothing */
async function storedSnapshot() {
  try {
    const found = await (await caches.open(STORE)).match(snapshotAddress);
    return (await found?.blob()) ?? null;
  } catch {
    return null; // a private window, or storage is forbidden
  }
}

async function storeSnapshot(snapshot) {
  try {
    const store = await caches.open(STORE);
    const older = (await store.keys()).filter(({ url }) => url.startsWith(SNAPSHOTS) && url !== snapshotAddress);
    await Promise.all([store.put(snapshotAddress, new Response(snapshot)), ...older.map((request) => store.delete(request))]);
  } catch {
    // the next visit starts from the beginning
  }
}

/**
 * Runs a download, and aborts it when nothing arrives for `timeoutMs`.
 * @template T
 * @param {(onProgress: (ratio: number) => void, signal: AbortSignal) => Promise<T>} download
 * @param {(ratio: number) => void} onProgress
 * @param {{signal?: AbortSignal, timeoutMs?: number}} [options] `signal` aborts it too
 * @returns {Promise<T>}
 */
export async function watchDownload(download, onProgress, { signal: outer, timeoutMs = DOWNLOAD_TIMEOUT_MS } = {}) {
  const abort = new AbortController();
  const timeout = new BootError(`Nothing arrived for ${timeoutMs / 1000} seconds while Python was loading. Try again.`);
  const end = () => abort.abort();
  outer?.addEventListener("abort", end);
  let watchdog = 0;
  const watch = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => abort.abort(timeout), timeoutMs);
  };
  watch();
  try {
    const report = (ratio) => {
      watch();
      onProgress(ratio);
    };
    return await download(report, abort.signal);
  } catch (error) {
    abort.abort(); // the other files of the download
    throw abort.signal.reason === timeout ? timeout : error;
  } finally {
    clearTimeout(watchdog);
    outer?.removeEventListener("abort", end);
  }
}

const INCOMPLETE = "Try again; if that does not help, this copy of the site is incomplete.";

/**
 * Fetches a file and counts its bytes as they arrive.
 * @param {URL} url
 * @param {(bytes: number) => void} onBytes called with the size of each piece
 * @param {RequestInit & {what?: string, remedy?: string}} [options] of `fetch`, and the beginning and end of the
 *   sentence on a failure
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

/**
 * The files Python needs, fetched with a truthful count of bytes.
 *
 * Sizes are those of the unpacked files: what a stream yields is unpacked too, while a
 * Content-Length counts packed bytes.
 */

import { BootError, orExplain } from "./errors.js";

// Kept by the workers that seal themselves after a start; the reader's has no part of this file.
const fetch = globalThis.fetch.bind(globalThis);

const INCOMPLETE = "Try again; if it stays so, this copy of the site is incomplete.";

/**
 * Fetch a file and count its bytes as they arrive.
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

/** Fetch a whole file, counted; as `fetchCounted`. @returns {Promise<ArrayBuffer>} */
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

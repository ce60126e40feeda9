/**
 * Server-sent events out of a byte stream, as the WHATWG standard frames them ("Server-sent events",
 * section 9.2.6). The browser's own EventSource cannot send an Authorization header.
 */

import { LineCutter } from "./line-cutter.js";

/** @typedef {{id: number, data: string} | {comment: string}} Frame */

export class SseParser {
  #decoder = new TextDecoder();
  #cutter = new LineCutter();
  #id = "";
  #data = [];

  /**
   * Takes the next bytes and returns the frames that are complete with them.
   * @param {Uint8Array} bytes may end anywhere, also inside a character
   * @returns {Frame[]}
   */
  push(bytes) {
    const lines = this.#cutter.push(this.#decoder.decode(bytes, { stream: true }));
    return lines.flatMap((line) => this.#take(line.endsWith("\r") ? line.slice(0, -1) : line));
  }

  #take(line) {
    if (line.startsWith(":")) return [{ comment: line.slice(1).trim() }];
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id") this.#id = value;
    if (field === "data") this.#data.push(value);
    return [];
  }

  #dispatch() {
    if (this.#data.length === 0) return [];
    const frame = { id: Number(this.#id), data: this.#data.join("\n") };
    this.#data = [];
    return [frame];
  }
}

// Downloads from a host of our own that is slow, under a watchdog of half a second: what came of them, as one JSON line.
import { createServer } from "node:http";

Object.assign(globalThis, { RUNTIME_BYTES: {}, ARCHIVES: {}, PYTHON_HASH: "" });
globalThis.location = { origin: "null" }; // that of a file
const { fetchBytes, watchDownload } = await import("../../web/python/runtime-files.js");

const PATIENCE_MS = 500;
const left = []; // addresses that a client has left before their end
const host = createServer(({ url }, answer) => {
  answer.on("close", () => answer.writableEnded || left.push(url));
  answer.write("1");
  if (url === "/stalls") return;
  let sent = 1;
  const more = setInterval(() => (++sent === 8 ? clearInterval(more) || answer.end("8") : answer.write("1")), PATIENCE_MS / 5);
});
await new Promise((listening) => host.listen(0, "127.0.0.1", listening));

const root = `http://127.0.0.1:${host.address().port}/`;
const download = async (name, options) => {
  const fetched = (onBytes, signal) => fetchBytes(new URL(name, root), onBytes, { signal });
  const bytes = await watchDownload(fetched, () => {}, options).catch(({ reason, message }) => reason ?? message);
  return bytes.byteLength ?? bytes;
};
const found = { trickles: await download("trickles", { timeoutMs: PATIENCE_MS }) };
found.stalls = await download("stalls", { timeoutMs: PATIENCE_MS });
const outer = new AbortController();
setTimeout(() => outer.abort(), PATIENCE_MS / 5);
found.ended = await download("stalls", { timeoutMs: 60_000, signal: outer.signal });
await new Promise((done) => setTimeout(done, 50));
console.log(JSON.stringify({ ...found, left }));
host.closeAllConnections();
host.close();

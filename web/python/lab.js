/**
 * The fine-tune of the page, inside its worker: the demo model, its data and numpy. It trains in slices of a few
 * tenths of a second at most, and receives messages between them.
 */

import { installPackage } from "./boot.js";
import { BootError } from "./messages.js";

const SEND_MS = 50;

/**
 * Opens the lab in an interpreter that has started.
 * @param {any} pyodide
 * @param {object} boot the first message
 * @param {ArrayBuffer} boot.numpy wheel
 * @param {Record<string, {bytes: ArrayBuffer, sha256: string}>} boot.demo the model and its data, by file
 * @param {ArrayBuffer | null} boot.kernel matmuls, exponentials and AdamW in WebAssembly; null where it could not be fetched
 * @param {object} worker
 * @param {WebAssembly.Memory} worker.memory that Python's arrays lie in
 * @param {(message: object) => void} worker.post
 * @param {(error: unknown) => void} worker.reportCrash
 * @throws {BootError} a file is damaged
 */
export async function openLab(pyodide, { numpy, demo, kernel }, { memory, post, reportCrash }) {
  const { MessageChannel } = self; // sandboxWorker() removes it
  installPackage(pyodide, "numpy", numpy);
  const lab = pyodide.pyimport("pycell.lab");
  for (const [name, { bytes, sha256 }] of Object.entries(demo)) {
    const reason = lab.add_file(name, new Uint8Array(bytes), sha256);
    if (reason) throw new BootError(reason);
  }
  const { multiply, exp, adamw } = await instantiate(kernel, memory);
  const session = lab.open_lab(multiply, exp, adamw);

  /** Trains; events are sent together every SEND_MS. */
  async function train(run) {
    let lines = "";
    let sent = performance.now();
    const send = () => {
      if (lines) post({ type: "events", run, lines });
      lines = "";
      sent = performance.now();
    };
    for (let slice = session.work(); slice !== undefined; slice = session.work()) {
      lines += slice;
      if (performance.now() - sent >= SEND_MS) send();
      await receiveMessages();
    }
    send();
  }

  /** Lets messages in. Unlike a timer, a message is not throttled in a hidden window. */
  function receiveMessages() {
    return new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => (port1.close(), resolve());
      port2.postMessage(null);
    });
  }

  return {
    ask({ prompt, alpha }) {
      return prompt === undefined ? session.blend(alpha) : session.ask(prompt, alpha);
    },
    stop: () => session.stop(),
    async start({ run, choices }) {
      try {
        const { problem = "", title = "", command = "" } = JSON.parse(session.start(choices, run, lab.versions()));
        post({ type: "began", run, problem, title, command });
        if (!problem) await train(run);
        post({ type: "ended", run });
      } catch (error) {
        reportCrash(error);
      }
    },
  };
}

/** The kernel's functions; undefined, which Python gets as None (null is not), without one. */
async function instantiate(kernel, memory) {
  if (kernel === null) return {};
  try {
    const { instance } = await WebAssembly.instantiate(kernel, { env: { memory } });
    return instance.exports;
  } catch {
    return {}; // no SIMD in this browser: numpy is correct, but slow
  }
}

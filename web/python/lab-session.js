/**
 * The lab of the page's trainer, inside its worker: the demo model, its rows and numpy, and the fine-tune
 * that runs piece by piece. Between two pieces, a few tenths of a second at most, messages are received.
 */

import { BootError } from "./exit-reasons.js";
import { installPackage } from "./packages.js";

const SEND_MS = 50;

/**
 * Opens the lab in an interpreter that has started.
 * @param {any} pyodide
 * @param {object} order the first message
 * @param {ArrayBuffer} order.numpy wheel
 * @param {Record<string, {bytes: ArrayBuffer, sha256: string}>} order.demo the model and its rows, by file
 * @param {ArrayBuffer | null} order.kernel matrix products in WebAssembly; null where they did not arrive
 * @param {object} worker
 * @param {WebAssembly.Memory} worker.memory that Python's arrays lie in
 * @param {(message: object) => void} worker.post
 * @param {(error: unknown) => void} worker.die reports that Python can do no more
 * @throws {BootError} a file is not the one it should be
 */
export async function openLab(pyodide, { numpy, demo, kernel }, { memory, post, die }) {
  const { MessageChannel } = self; // sealWorker() removes it
  installPackage(pyodide, "numpy", numpy);
  const lab = pyodide.pyimport("pycell.lab");
  for (const [name, { bytes, sha256 }] of Object.entries(demo)) {
    const reason = lab.add_file(name, new Uint8Array(bytes), sha256);
    if (reason) throw new BootError(reason);
  }
  const session = lab.open_lab(await instantiate(kernel, memory));

  /** Trains; the events of several pieces leave together every SEND_MS. */
  async function train(run) {
    let lines = "";
    let sent = performance.now();
    const send = () => {
      if (lines) post({ type: "events", run, lines });
      lines = "";
      sent = performance.now();
    };
    for (let piece = session.work(); piece !== undefined; piece = session.work()) {
      lines += piece;
      if (performance.now() - sent >= SEND_MS) send();
      await receiveMessages();
    }
    send();
  }

  /** Lets messages in. A message is not slowed down in a hidden window, as timers are. */
  function receiveMessages() {
    return new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => (port1.close(), resolve());
      port2.postMessage(null);
    });
  }

  return {
    ask: (prompt) => session.ask(prompt),
    stop: () => session.stop(),
    async start({ run, choices }) {
      try {
        const { problem = "", title = "", command = "" } = JSON.parse(session.start(choices, run, lab.versions()));
        post({ type: "began", run, problem, title, command });
        if (!problem) await train(run);
        post({ type: "ended", run });
      } catch (error) {
        die(error);
      }
    },
  };
}

/** The products of WebAssembly; undefined, which is Python's None (null is not), where there are none. */
async function instantiate(kernel, memory) {
  if (kernel === null) return undefined;
  try {
    const { instance } = await WebAssembly.instantiate(kernel, { env: { memory } });
    return instance.exports.product;
  } catch {
    return undefined; // no vector instructions here: numpy's own products are right, and slow
  }
}

/**
 * Asks huggingface.co for the config.json of a model, and only when a reader pressed the button for
 * it. The name of the model is sent, without cookies and without the address of this page; what comes
 * back is read by Python, by the same rules as in the terminal.
 */

import { h } from "../figures/vnode.js";

const MOST_BYTES = 1_000_001; // Python refuses one less; more need not be read to say so
const SECONDS = 20;

/** The button that asks, and what it sends. @param {string} link the file on the hub, from Python */
export function askView(link) {
  return [
    h("button", { type: "button", class: "button button-small", "data-asks": link }, "Ask huggingface.co for its config.json"),
    " It is sent the model's name, without cookies, and like any site sees your IP address. Or ",
    h("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, "open the file there"),
    " and drop it on the planner.",
  ];
}

/** The hub's answer, or why there is none. @param {typeof fetch} [ask] the network */
export async function fetchConfig(link, ask = fetch) {
  const options = { credentials: "omit", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(SECONDS * 1000) };
  try {
    const answer = await ask(link, options);
    return { status: answer.status, headers: Object.fromEntries(answer.headers), text: await begun(answer) };
  } catch (error) {
    return { failed: error.name === "TimeoutError" ? `no whole answer in ${SECONDS} seconds` : error.message };
  }
}

/** As much of the answer as a config.json may have. */
async function begun(answer) {
  const reader = answer.body.getReader();
  const parts = [];
  for (let size = 0; size < MOST_BYTES; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
  }
  void reader.cancel();
  return await new Blob(parts).text();
}

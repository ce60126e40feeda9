/**
 * Asks huggingface.co for the config.json of a model, and only when a reader pressed the button for
 * it. The name of the model is sent, without cookies and without the address of this page; what
 * comes back is text, which Python then reads as it reads a file that was dropped.
 */

const HUB = "https://huggingface.co/";
const FILE = /^https:\/\/huggingface\.co\/[\w.-]+\/[\w.-]+\/raw\/main\/config\.json$/;
const MOST_BYTES = 200_001; // Python refuses half of that; more need not be read to say so
const SECONDS = 20;
const HIDDEN = [401, 403, 404];

/** What the button sends, shown beside it. */
export const SENT = "sends the model's name, no cookie and nothing of yours; like any site it sees your IP address";

/**
 * @param {string} link the file's page on the hub, from `unfrozen.planner`
 * @param {typeof fetch} [ask] the network
 * @returns {Promise<string>} the text of the file
 * @throws {Error} with a sentence for the reader
 */
export async function configText(link, ask = fetch) {
  if (!isConfig(link)) throw new Error("This is no file of a model on the hub.");
  const answer = await fetchJson(link.replace("/raw/", "/resolve/"), ask);
  const reason = refusal(answer.status, answer.url);
  if (reason) throw new Error(reason);
  return await begun(answer);
}

/** Whether a link is that of a model's config.json on the hub. */
export function isConfig(link) {
  return FILE.test(link);
}

/** Why an answer is not read, in a sentence; empty where it is. */
export function refusal(status, url) {
  if (HIDDEN.includes(status)) {
    return "The hub shows no such file to a visitor: the name is wrong, or the model wants you to sign in.";
  }
  if (status !== 200) return `The hub answered with an error (${status}). Try again later.`;
  return url.startsWith(HUB) ? "" : "The hub sent the browser elsewhere, where this page does not follow.";
}

async function fetchJson(address, ask) {
  const options = { credentials: "omit", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(SECONDS * 1000) };
  try {
    return await ask(address, options);
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Error(late ? "The hub did not answer in 20 seconds." : "The hub cannot be reached from this browser.", {
      cause: error,
    });
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

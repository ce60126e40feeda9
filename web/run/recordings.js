/** Runs recorded for readers who have no runner; they lie beside the page as plain files. */

/** @typedef {{name: string, title: string}} Recording */

/** @returns {Promise<Recording[]>} empty when the list cannot be read */
export async function listRecordings() {
  try {
    const answer = await fetch("recordings/index.json");
    const names = answer.ok ? await answer.json() : [];
    return names.map((name) => ({ name, title: titleOf(name) }));
  } catch {
    return []; // offline: the chooser says that there are none
  }
}

/** The recording as a stream of bytes. Throws when it cannot be fetched. */
export async function openRecording(name) {
  const answer = await fetch(`recordings/${encodeURIComponent(name)}`);
  if (!answer.ok) throw new Error(`the recording ${name} cannot be read (${answer.status})`);
  return answer;
}

function titleOf(name) {
  const words = name.replace(/\.jsonl$/, "").replaceAll(/[-_]+/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

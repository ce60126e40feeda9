/** Runs recorded for readers who have no runner; they lie beside the page as plain files. */

/** @typedef {{name: string, title: string, description: string}} Recording */

/** @returns {Promise<Recording[]>} empty when the list cannot be read */
export async function listRecordings() {
  try {
    const answer = await fetch("recordings/index.json");
    const listed = answer.ok ? await answer.json() : [];
    return listed.map(({ file, title, description }) => ({ name: file, title, description }));
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

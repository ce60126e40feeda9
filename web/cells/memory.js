/**
 * The reader's own version of a cell, kept in this browser.
 *
 * Stored with the hash of the article's source it was made from, so that a changed article can be
 * told from a changed cell. Browsers that forbid storage lose the edit with the page; nothing else.
 */

const key = (id) => `unfrozen-cell:${id}`;

/** @returns {{hash: string, code: string} | null} what was saved for a cell */
export function recall(id) {
  try {
    const kept = JSON.parse(localStorage.getItem(key(id)));
    return typeof kept?.code === "string" ? kept : null;
  } catch {
    return null; // storage forbidden, or not ours
  }
}

/** Keep `code`, an edit of the article's source with `hash`. */
export function remember(id, hash, code) {
  try {
    localStorage.setItem(key(id), JSON.stringify({ hash, code }));
  } catch {
    // Storage is full or forbidden: the edit lives as long as the page.
  }
}

/** Drop what was saved for a cell. */
export function forget(id) {
  try {
    localStorage.removeItem(key(id));
  } catch {
    // Nothing could have been saved.
  }
}

/** How a figure leaves the page: to the clipboard or as a file. */

/**
 * Puts text on the clipboard.
 * @param {string} text
 * @returns {Promise<boolean>} false when the browser refuses (no permission, plain http)
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Offers a file for saving.
 * @param {string} name
 * @param {Blob} blob
 */
export function saveFile(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * What to call a figure that has no title: the name it goes by in the article, or its cell's.
 * @param {Element} element
 * @returns {string} empty where it stands alone
 */
export function placeName(element) {
  const figure = element.closest("figure[id]")?.id.replace(/^fig-/, "");
  return figure || element.closest("live-cell[id]")?.id || "";
}

/**
 * A file name from a title: letters, digits and hyphens only.
 * @param {string} title
 * @param {string} fallback
 * @param {string} extension without the dot
 */
export function fileName(title, fallback, extension) {
  const stem = title
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return `${stem.slice(0, 60) || fallback}.${extension}`;
}

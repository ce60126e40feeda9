/**
 * Whether a model's name is the one somebody means. Spelling varies where meaning does not:
 * "llama3.1 8b", "Llama-3.1-8B" and "llama 3.1" mean one model, "8b" is no part of "14.8b", and a
 * version that was trained further on instructions has the tensors of its base. Pure.
 */

const PIECES = /[a-z]+|\d+(?:\.\d+)*/g;
const VARIANTS = new Set(["instruct", "chat", "it"]);

/** Letters and numbers of a text in turn: "Llama-3.1-8B" → llama, 3.1, 8, b. */
function piecesOf(text) {
  return text.toLowerCase().match(PIECES) ?? [];
}

/**
 * What was typed, ready to be looked for: a word is what stands between blanks.
 * @param {string} typed
 * @returns {{words: string[][], variant: boolean}} pieces of each word; whether a word says only that
 *   the model was trained further
 */
export function wanted(typed) {
  const words = typed.split(/[\s,]+/).map(piecesOf);
  const kept = words.map((pieces) => pieces.filter((piece) => !VARIANTS.has(piece)));
  const variant = kept.some(({ length }, index) => length < words[index].length);
  return { words: kept.filter(({ length }) => length), variant };
}

/** Whether the pieces of a name hold those of every word, each word's in one stretch. */
export function means(name, { words }) {
  const pieces = piecesOf(name);
  return words.every((word) => pieces.some((_, start) => matches(pieces.slice(start, start + word.length), word)));
}

/** The first piece may begin inside a word, the last may be unfinished; numbers begin at their start. */
function matches(pieces, word) {
  return (
    pieces.length === word.length &&
    word.every((piece, index) => {
      const isLast = index === word.length - 1;
      const found = pieces[index];
      if (/\d/.test(piece)) return isLast ? found.startsWith(piece) : found === piece;
      if (index === 0 && isLast) return found.includes(piece);
      return isLast ? found.startsWith(piece) : index === 0 ? found.endsWith(piece) : found === piece;
    })
  );
}

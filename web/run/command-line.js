/**
 * Commands as one types them where the server of this page is installed: `unfrozen` by its name, or by
 * its path from where the server was started. The server writes it into the page; a page without one
 * has the name. Pure but for the one attribute it reads.
 */

const COMMANDS = /^(unfrozen|torchrun)(?= )/gm;

/** What the server of this page is called on its reader's machine. */
export function program() {
  return globalThis.document?.documentElement?.dataset?.program || "unfrozen";
}

/**
 * @param {string} text one command a line
 * @param {string} own how `unfrozen` is spellCommand
 */
export function spellCommand(text, own = program()) {
  if (own.includes(" ")) return text; // quoted, or an interpreter and a module: the name says enough
  const folder = own.slice(0, own.lastIndexOf("/") + 1);
  return text.replace(COMMANDS, (name) => (name === "unfrozen" ? own : folder + name));
}

/** Spells the commands of the article so: blocks of code that begin with one. */
export function spellCommands(article) {
  for (const code of article.querySelectorAll("pre > code")) {
    if (!code.textContent.startsWith("unfrozen ")) continue;
    const first = document.createTreeWalker(code, NodeFilter.SHOW_TEXT).nextNode();
    first.data = first.data.replace(/^unfrozen/, spellCommand("unfrozen ").trimEnd());
  }
}

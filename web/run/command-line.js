/**
 * Commands as they are typed on the reader's machine: `unfrozen` by its name, or by its path from where the server was
 * started. The server writes it into the page; a page without a server has the name.
 */

const UNTYPED = /[\p{C}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu;
const COMMANDS = /^(unfrozen|torchrun)(?= )/gm;

/** Returns the name or path of `unfrozen` on the reader's machine. */
export function program() {
  return globalThis.document?.documentElement?.dataset?.program || "unfrozen";
}

/** Adds the folder of runs that the server was given to a command. @param {string} words */
export function withRuns(words) {
  const runs = globalThis.document?.documentElement?.dataset?.runs;
  return runs ? `${words} --runs ${runs}` : words;
}

/**
 * @param {string} text one command a line
 * @param {string} own how `unfrozen` is typed
 */
export function spellCommand(text, own = program()) {
  if (own.includes(" ")) return text; // quoted, or an interpreter and a module
  const folder = own.slice(0, own.lastIndexOf("/") + 1);
  return text.replace(COMMANDS, (name) => (name === "unfrozen" ? own : folder + name));
}

/**
 * Quotes a name for bash and zsh; it is never read as an option, and no character of it controls a terminal.
 * @param {string} name
 */
export function quoteForShell(name) {
  const escaped = name.replace(/[\\']/g, "\\$&").replace(UNTYPED, (mark) => `\\U${mark.codePointAt(0).toString(16).padStart(8, "0")}`);
  const quoted = name.search(UNTYPED) >= 0 ? `$'${escaped}'` : /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
  return name.startsWith("-") ? `-- ${quoted}` : quoted;
}

/** Does so in the article: in each line of blocks of code that start with such a command. */
export function spellCommands(article) {
  const own = spellCommand("unfrozen ").trimEnd();
  for (const code of article.querySelectorAll("pre > code")) {
    if (!code.textContent.startsWith("unfrozen ")) continue;
    const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(), begins = true; text; text = texts.nextNode()) {
      const spelled = text.data.replace(/(^|\n)unfrozen\b/g, (all, before) => (before || begins ? before + own : all));
      begins = text.data.endsWith("\n");
      text.data = spelled;
    }
  }
}

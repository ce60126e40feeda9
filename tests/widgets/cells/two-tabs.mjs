// Two tabs that edit one cell: [tab, action, code?] one after another; for each, what is stored and what the tab offers.
import { StoredEdit } from "../../../web/cells/edits.js";

const stored = new Map();
globalThis.localStorage = {
  getItem: (key) => stored.get(key) ?? null,
  setItem: (key, text) => void stored.set(key, text),
  removeItem: (key) => void stored.delete(key),
};
const { before, steps } = JSON.parse(process.argv[2]);
const tabs = {};
const now = { a: "article", b: "article" };
for (const tab of ["a", "b"]) tabs[tab] = new StoredEdit("cell", "hash", "article");
if (before !== null) stored.set(tabs.a.key, before);
for (const tab of ["a", "b"]) now[tab] = tabs[tab].load()?.code ?? "article";
const seen = steps.map(([tab, action, code = now[tab]]) => {
  const edit = tabs[tab];
  now[tab] = code;
  if (action === "take") edit.take(stored.get(edit.key) ?? null, code);
  else if (action === "remove") edit.remove((now[tab] = "article"));
  else if (action === "choose") edit.choose();
  else edit.save(code);
  const { code: main = null, other = null } = JSON.parse(stored.get(edit.key) ?? "{}");
  return [main, other, edit.other];
});
process.stdout.write(JSON.stringify(seen));

// Runs pure widget code in Node: one JSON line {module, name, args, asHtml} in, one JSON line
// {result} or {error} out. `module` is a file of web, without its ending.
import { createInterface } from "node:readline";
import { toHtml } from "../../web/figures/vnode.js";

const baked = { "event-schema": { textContent: process.env.EVENT_SCHEMA } }; // as the site builder bakes it
globalThis.document = { getElementById: (id) => baked[id] ?? null, documentElement: { style: {} } };
globalThis.HTMLElement = class {};
globalThis.customElements = { define() {} };

async function answer({ module, name, args, asHtml }) {
  try {
    const exported = await import(`../../web/${module}.js`);
    const result = exported[name](...args);
    return { result: asHtml ? [result].flat().map(toHtml).join("") : result };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}

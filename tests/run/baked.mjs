// What the site builder writes into the page and its scripts; loaded before any of them.
const baked = { "event-schema": { textContent: process.env.EVENT_SCHEMA } };
globalThis.document = { getElementById: (id) => baked[id] ?? null };
globalThis.PACKAGES = {};
globalThis.RUNTIME_BYTES = {};
globalThis.LINE_MOST = JSON.parse(process.env.EVENT_SCHEMA).frontier.most.line;

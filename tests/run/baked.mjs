// What the site builder writes into the page and its scripts; loaded before any of them.
const baked = { "event-schema": { textContent: process.env.EVENT_SCHEMA } };
globalThis.document = { getElementById: (id) => baked[id] ?? null };
globalThis.PACKAGES = {};
globalThis.RUNTIME_BYTES = {};
globalThis.PYTHON_HASH = "new";
globalThis.crossOriginIsolated = true; // as our server has it
globalThis.MAX_LINE_LENGTH = JSON.parse(process.env.EVENT_SCHEMA).shapes.max_line_length;
globalThis.HTMLElement = class {};
globalThis.customElements = { define() {} };

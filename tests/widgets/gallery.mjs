// Prints a page with every example baked in, as the site builder would: the fixture of the browser tests.
import { readFileSync } from "node:fs";
import { plotView } from "../../web/plots/view.js";
import { tableView } from "../../web/tables/view.js";
import { toHtml } from "../../web/figures/vnode.js";

const examples = JSON.parse(readFileSync(new URL("./examples.json", import.meta.url), "utf8"));
const figures = Object.entries(examples).map(([id, data]) => {
  const isTable = "headers" in data;
  const tag = isTable ? "data-table" : "data-plot";
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  const view = id === "wrong" ? "" : toHtml(isTable ? tableView(data) : plotView(data));
  return `<${tag} id="${id}"><script type="application/json" class="data">${json}</script>${view}</${tag}>`;
});
process.stdout.write(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Gallery</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<script type="application/json" id="event-schema">${process.env.EVENT_SCHEMA.replaceAll("<", "\\u003c")}</script>
<link rel="icon" href="data:,"><link rel="stylesheet" href="style.css">
<link rel="stylesheet" href="gallery.css">
</head><body><main class="article"><h1>Gallery</h1>
${figures.join("\n")}
</main><script type="module" src="gallery.js"></script></body></html>
`);

// Draws tables, plots and formulas at build time: JSON requests on stdin, JSON answers on stdout.
//
//   [{"kind": "math", "tex": "16N", "display": false},
//    {"kind": "table" | "plot" | "exercise", "data": {…}, "opts": {…}},
//    {"kind": "widget", "draw": "planner/view.js#memoryPlannerView", "data": {…}, "opts": {…}}]
//      →  [{"html": "…"} | {"error": "…"}]
//
// Tables and plots go through the widgets' own pure renderers: what is baked is what turns live.

import temml from "temml";

import { exerciseView } from "../quiz/exercise-view.js";
import { plotView } from "../plots/view.js";
import { tableView } from "../tables/view.js";
import { toHtml } from "../figures/vnode.js";

const RENDERERS = {
  math: ({ tex, display }) => mathml(tex, display),
  table: ({ data, opts }) => toHtml(tableView(data, opts)),
  exercise: ({ data }) => toHtml(exerciseView(data)),
  plot: ({ data, opts }) => toHtml(plotView(data, opts)),
  widget: async ({ draw, data, opts }) => {
    const [file, name] = draw.split("#");
    return toHtml((await import(`../${file}`))[name](data, opts));
  },
};

/** MathML without style attributes, which the page's content security policy would refuse. */
function mathml(tex, display) {
  const html = temml.renderToString(tex, { displayMode: display, throwOnError: true, strict: true });
  return html.replace(/ style="[^"]*"/g, "");
}

async function answer(request) {
  const render = RENDERERS[request.kind];
  if (!render) return { error: `unknown kind ${JSON.stringify(request.kind)}` };
  try {
    return { html: await render(request) };
  } catch (error) {
    return { error: error.message };
  }
}

let input = "";
for await (const chunk of process.stdin) input += chunk;
process.stdout.write(JSON.stringify(await Promise.all(JSON.parse(input).map(answer))));

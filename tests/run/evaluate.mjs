// Runs a few lines of JavaScript with the modules of the run view: one JSON line {body, input} in,
// one JSON line {answer} or {error} out. JSON has no NaN; it is written by its name.
import "./baked.mjs";
import { createInterface } from "node:readline";
import { axisOf, differingSettings, examplesWarning, frontier, pairedLosses, meaningWarning, pathOf, standingText } from "../../web/run/compare.js";
import { emptyRun, fold } from "../../web/run/fold.js";
import { parseEvent, parseLines, readLog } from "../../web/run/log-reader.js";
import { readLogBytes } from "../../web/run/watch.js";
import { blendState, commandState } from "../../web/run/view/run-controls.js";
import { eventsOf, pageRuns } from "../../web/run/page-runs.js";
import { PageTrainer } from "../../web/run/page-trainer.js";
import { program, quoteForShell, spellCommand } from "../../web/run/command-line.js";
import { followLines, followRun, SseParser } from "../../web/run/event-stream.js";
import { Announcements, judgeHealth, makeNotice } from "../../web/run/notices.js";
import { readDataReport } from "../../web/run/log-files.js";
import { csvOf } from "../../web/run/view/points.js";
import { chartPicture } from "../../web/run/view/chart-picture.js";
import { chartsOf, comparedLosses, differencesView, otherCurves } from "../../web/run/view/compare-view.js";
import * as chartData from "../../web/run/view/chart-data.js";
import * as numbers from "../../web/figures/number.js";
import { examplesView, revealHidden } from "../../web/run/view/examples.js";
import { h, toHtml } from "../../web/figures/vnode.js";

const realTimeout = globalThis.setTimeout;
const folded = (events) => events.reduce(fold, emptyRun());
/** From here to the end of the call, only watchdogs take their time. */
const hurry = () => {
  globalThis.setTimeout = (call, ms, ...rest) => realTimeout(call, ms > 5000 ? ms : 0, ...rest);
};
const known = { ...chartData, emptyRun, fold, folded, followLines, judgeHealth, hurry, makeNotice, numbers };
Object.assign(known, { blendState, eventsOf, commandState, pageRuns, PageTrainer, parseEvent, program, quoteForShell, readLog, readLogBytes, SseParser, spellCommand });
Object.assign(known, { axisOf, differingSettings, examplesWarning, frontier, pairedLosses, meaningWarning, pathOf, standingText });
Object.assign(known, { csvOf, readDataReport, chartPicture, chartsOf, comparedLosses, differencesView, otherCurves });
Object.assign(known, { followRun, h, parseLines, examplesView, revealHidden, Announcements, toHtml });
const AsyncFunction = (async () => {}).constructor;
const named = (_, v) => (typeof v === "number" && !Number.isFinite(v) ? String(v) : v);

async function evaluate({ body, input }) {
  try {
    const run = new AsyncFunction("input", ...Object.keys(known), body);
    return { answer: (await run(input, ...Object.values(known))) ?? null };
  } catch (error) {
    return { error: error.stack };
  } finally {
    globalThis.setTimeout = realTimeout;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await evaluate(JSON.parse(line)), named)}\n`);
}

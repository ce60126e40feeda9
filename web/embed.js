/**
 * The entry of one figure in a frame, in a page of any other site. Its address takes what that of the figure's page takes: a
 * plan, or `?recording=NAME`. The frame tells the page around it how high it is, and its links leave it.
 */

import { keepStates } from "./page/address.js";

const query = location.search.slice(1);
if (query && !location.hash) history.replaceState(null, "", `#&planner?${query}`);
keepStates();

const run = document.querySelector("run-view");
if (run) {
  void import("./run/view/run-view.js").then(() => run.showRecording(new URLSearchParams(query).get("recording")));
} else if (document.querySelector("memory-planner")) void import("./planner/memory-planner.js");
else void import("./page/reading-aids.js");

const follow = ({ target }) => {
  const link = target.closest("a[href]:not([href^='#'])");
  if (link) Object.assign(link, { target: "_blank", rel: "noopener" });
};
addEventListener("click", follow, true);

const report = () => parent.postMessage({ unfrozen: "height", height: document.documentElement.offsetHeight }, "*");
new ResizeObserver(report).observe(document.body);

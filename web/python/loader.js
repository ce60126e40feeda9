/** The worker that fetches and compiles what starts Python, for one answer. It runs no reader code, and posts shares until then. */

import { fetchFiles } from "./runtime-files.js";

self.postMessage({ ratio: 0 }); // it begins: its own start is not the host's pace
fetchFiles((ratio) => self.postMessage({ ratio })).then(
  (files) => self.postMessage({ files }, [files.stdlib, files.core]),
  ({ reason, message }) => self.postMessage({ problem: reason ?? message }),
);

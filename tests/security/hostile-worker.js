// Put in the place of python/worker.js by test_worker.py: answers as Python's worker does, and says
// what the source of the cell tells it to say, in the turn it names.
const post = (message) => self.postMessage(message);

self.addEventListener("message", ({ data }) => {
  if (data.type === "prepare") return post({ type: "prepared", version: "OURS" });
  if (data.type === "boot") return post({ type: "ready" });
  if (data.type !== "run") return undefined;
  const { run, cell } = data;
  const mine = { run, cell };
  const { before = [], during = [], after = [], ends = true } = JSON.parse(data.source || "{}");
  const say = (messages) => {
    for (const message of messages) post(message?.own ? { ...mine, ...message.own } : message);
  };
  say(before);
  post({ type: "started", ...mine });
  post({ type: "stdout", ...mine, text: "honest" });
  say(during);
  const nothing = { error: null, notice: "", guessed: "", seconds: 0.1, heapBytes: 0 };
  if (ends) post({ type: "done", ...mine, value: "'honest'", ...nothing });
  say(after);
  return undefined;
});

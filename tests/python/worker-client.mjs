// A worker's client and a Worker of our own: what the client was called with, in order, as one JSON line.
globalThis.RUNTIME_BYTES = {};
globalThis.PYTHON_HASH = "new";
globalThis.crossOriginIsolated = process.argv[2] !== "alone";
const { WorkerClient } = await import("../../web/python/worker-client.js");

const heard = [];
const made = [];

class Sound extends EventTarget {
  constructor(url, { name }) {
    super();
    Object.assign(this, { url: String(url), name, ended: false, told: [] });
    made.push(this);
  }
  postMessage(message) {
    this.told.push(message);
    if (message.type === "prepare") queueMicrotask(() => answers(this));
  }
  terminate() {
    this.ended = true;
  }
  say(data) {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }
  break(message) {
    const event = Object.assign(new Event("error", { cancelable: true }), { message });
    this.dispatchEvent(event);
    return event.defaultPrevented;
  }
}

let answers = (worker) => worker.say({ type: "prepared", version: "new" });
globalThis.Worker = Sound;
globalThis.location = { origin: "null" }; // that of a file

class Client extends WorkerClient {
  turn = "idle";
  load = async () => ({});
  receive = ({ running }) => heard.push(["receive", running]);
  refuse = () => heard.push(["refuse"]);
  handleScriptError = (message) => heard.push(["error", message]);
  fail = (reason) => heard.push(["fail", reason]);
}

const client = new Client(new URL("file:///worker.js"), "planner", {});
const pong = (running) => ({ type: "pong", running });
const begin = async () => {
  await client.start(() => {});
};
const unguarded = (worker) => worker.say({ type: worker.told[0].unguarded ? "prepared" : "unguarded", version: "new" });
const summary = () => made.map(({ url, ended, told }) => [url.slice(0, 5), ended, told[0].unguarded]);
const rest = (ms) => new Promise((done) => setTimeout(done, ms));

const scenes = {
  async spoken() {
    await begin();
    client.post("ask");
    made[0].say(pong(1));
    made[0].say({ type: "pong" });
    return [client.hasWorker, made[0].name, made[0].told];
  },
  async replaced() {
    await begin();
    await begin();
    made[0].say("late");
    made[0].break("late");
    made[1].say(pong(2));
    client.end();
    made[1].say("late");
    return [made.map((worker) => worker.ended), client.hasWorker];
  },
  async broken() {
    await begin();
    return [made[0].break("boom"), made[0].break("")];
  },
  async unguarded() {
    answers = unguarded;
    await begin();
    made[1].say(pong(4));
    made[1].say({ type: "unguarded" });
    return summary();
  },
  async alone() {
    answers = unguarded;
    await begin();
    return summary();
  },
  async unguardable() {
    answers = (worker) => (worker.url.startsWith("blob:") ? worker.break("blob: is forbidden here") : unguarded(worker));
    await begin();
    made[2].say(pong(3));
    await begin();
    return summary();
  },
  async scriptless() {
    answers = (worker) => worker.break("");
    await begin();
    return [client.hasWorker, ...summary()];
  },
  async older() {
    answers = (worker) => worker.say({ type: "prepared", version: "old" });
    await begin();
    return summary();
  },
  async unloaded() {
    client.load = () => Promise.reject(new Error("no wasm"));
    answers = (worker) => worker.break("told second");
    await begin();
    return [client.hasWorker];
  },
  async refused() {
    globalThis.Worker = class {
      constructor() {
        throw new Error("forbidden");
      }
    };
    await begin();
    return [client.hasWorker];
  },
  async silent() {
    await begin();
    client.watch(20);
    client.watch(30, "while it worked");
    await rest(80);
    client.watch(20);
    client.end();
    client.watch(0);
    await rest(60);
    return [];
  },
  async abandoned() {
    const early = client.start(() => {});
    client.end();
    await early;
    await rest(5);
    return made.map(({ ended, told }) => [ended, told.length]);
  },
};

const found = await scenes[process.argv[2]]();
process.stdout.write(JSON.stringify({ found, heard }));
client.end();

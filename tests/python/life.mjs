// Lives of a worker with a Worker of our own: what its owner heard, in order, as one JSON line.
import { WorkerLife } from "../../web/python/life.js";

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

globalThis.Worker = Sound;
globalThis.location = { origin: "null" }; // that of a file
const owner = Object.fromEntries(["hear", "broke", "refused"].map((what) => [what, (said) => heard.push([what, said])]));
const life = new WorkerLife(new URL("file:///worker.js"), "test", owner);
const rest = (ms) => new Promise((done) => setTimeout(done, ms));

const scenes = {
  async spoken() {
    life.begin({ type: "boot" });
    life.post("ask");
    made[0].say("answer");
    return [life.begun, made[0].name, made[0].told];
  },
  async replaced() {
    life.begin({ type: "one" });
    life.begin({ type: "two" });
    made[0].say("late");
    made[0].break("late");
    made[1].say("heard");
    life.end();
    made[1].say("late");
    return [made.map((worker) => worker.ended), life.begun];
  },
  async broken() {
    life.begin({ type: "boot" });
    return [made[0].break("boom"), made[0].break("")];
  },
  async unguarded() {
    life.begin({ type: "boot" });
    made[0].say({ type: "bare" });
    made[1].say("late, and no first word");
    made[1].say({ type: "bare" });
    return made.map(({ url, ended, told }) => [url.slice(0, 5), ended, told[0].bare]);
  },
  async unguardable() {
    life.begin({ type: "boot" });
    made[0].say({ type: "bare" });
    made[1].break("blob: is forbidden here");
    made[2].say("heard");
    life.begin({ type: "boot" });
    return made.map(({ url, ended, told }) => [url.slice(0, 5), ended, told[0].bare]);
  },
  async refused() {
    globalThis.Worker = class {
      constructor() {
        throw new Error("forbidden");
      }
    };
    life.begin({ type: "boot" });
    return [life.begun];
  },
  async silent() {
    life.begin({ type: "boot" });
    life.watch(20, (seconds) => heard.push(["silent", seconds]));
    life.watch(30, (seconds) => heard.push(["silent", seconds]));
    await rest(80);
    life.watch(20, () => heard.push(["never"]));
    life.end();
    life.watch(0);
    await rest(60);
    return [];
  },
};

const found = await scenes[process.argv[2]]();
process.stdout.write(JSON.stringify({ found, heard }));

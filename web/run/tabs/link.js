/**
 * A tab's end of what the tabs share: one port to the hub, opened anew when the hub dies or falls
 * silent. What a tab has read is known here, so a new hub goes on where the old one stopped.
 */

export const BEAT_MS = 2000;
const SILENT_BEATS = 5; // so many are missed before a hub is given up
const AGAIN_MS = 100;
const LAST_AGAIN_MS = 4000;

/**
 * @typedef {object} Follow what a tab reads of one log
 * @property {string} run
 * @property {AbortSignal} signal
 * @property {(texts: string[], skipped: number) => void} onLines every batch, in order
 * @property {(state: import("../event-stream.js").StreamState) => void} onState
 * @property {(alive: "yes" | "no" | "unknown") => void} onWriter whether the trainer lives
 * @property {() => void} onRestart the log is not the one that was read: begin again from nothing
 * @property {(caughtUp: boolean) => void} onCaughtUp whether all that the log holds has been read
 */

/**
 * @typedef {object} Tried what came of hubs before
 * @property {number} hung so many fell silent: the next one has another name
 * @property {number} failures so many were of no use, one after the other
 * @property {boolean} welcomed whether there ever was one
 */

export class Link {
  #token = "";
  #port = null;
  #follows = new Map(); // number → Follow, with the offset after its last line
  #calls = new Map(); // number → what a GET was for
  #number = 0;
  #silent = 0;
  #onRuns = () => {};

  /**
   * @param {object} effects
   * @param {(tried: Tried) => {port: MessagePort, broken: Promise<void>}} effects.connect to a hub;
   *   `broken` is kept when its script could not be loaded
   * @param {(lock: string) => Promise<void>} effects.whenGone kept when nobody holds the lock any more
   * @param {string} effects.lock that tells the hub whether this tab lives; "" without locks
   * @param {() => Promise<void>} effects.hold takes that lock, for as long as the tab lives
   * @param {() => boolean} effects.isAwake
   */
  constructor(effects) {
    this.effects = effects;
    /** @type {Tried} */
    this.tried = { hung: 0, failures: 0, welcomed: false };
  }

  /** Opens the port, or says hello with another token. @param {(said: object) => void} onRuns */
  open(token, onRuns) {
    const isFirst = this.#token === "";
    this.#token = token;
    this.#onRuns = onRuns;
    if (isFirst) void this.#start();
    else if (this.#port) this.#hello();
  }

  async #start() {
    if (this.effects.lock) await this.effects.hold(); // or a hub would take it, and the tab for gone
    this.#connect();
    setInterval(() => this.#listen(), BEAT_MS);
  }

  /** The tab was hidden, or is seen again. */
  awake(awake) {
    this.#silent = 0;
    if (awake) for (const follow of this.#follows.values()) follow.onCaughtUp(false);
    this.#say({ type: "awake", awake });
  }

  /** The tab is closed. */
  bye() {
    this.#say({ type: "bye" });
  }

  /** The tab that was closed is here again, as it was. */
  again() {
    if (this.#port) this.#hello();
  }

  /** Reads a log until `signal` aborts or its state is a final one. @param {Follow} follow */
  follow(follow) {
    const id = ++this.#number;
    const entry = { ...follow, offset: 0 };
    this.#follows.set(id, entry);
    follow.onState("connecting");
    follow.signal.addEventListener("abort", () => {
      if (this.#follows.delete(id)) this.#say({ type: "leave", reading: id });
    });
    this.#ask(id, entry);
  }

  /** @returns {Promise<{status: number, text: string}>} what the server answers; status 0: nothing */
  get(path) {
    const call = ++this.#number;
    return new Promise((settle) => {
      this.#calls.set(call, { path, settle });
      this.#say({ type: "get", call, path });
    });
  }

  #connect() {
    const { port, broken } = this.effects.connect(this.tried);
    this.#port = port;
    this.#silent = 0;
    port.onmessage = ({ data }) => port === this.#port && this.#hear(data, port);
    void broken.then(() => this.#fail(port));
    this.#hello();
  }

  #hello() {
    const { lock, isAwake } = this.effects;
    this.#say({ type: "hello", token: this.#token, awake: isAwake(), lock });
    for (const [id, follow] of this.#follows) this.#ask(id, follow);
    for (const [call, { path }] of this.#calls) this.#say({ type: "get", call, path });
  }

  #ask(reading, { run, offset }) {
    this.#say({ type: "follow", reading, run, offset });
  }

  #hear(data, port) {
    this.#silent = 0;
    if (data.type === "welcome") this.#welcomed(data.lock, port);
    else if (data.type === "runs") this.#onRuns(data);
    else if (data.type === "got") this.#got(data);
    else if (this.#follows.has(data.reading)) this.#hearLog(data, this.#follows.get(data.reading));
  }

  #hearLog(data, follow) {
    const { type, reading, state } = data;
    if (type === "lines") this.#take(data, follow);
    else if (type === "writer") follow.onWriter(data.writer);
    else if (type === "caught-up") follow.onCaughtUp(true);
    else if (type === "restart") {
      follow.offset = 0;
      follow.onRestart();
    } else if (type === "state") {
      if (["over", "refused", "missing"].includes(state)) this.#follows.delete(reading);
      follow.onState(state);
    }
  }

  #take({ reading, text, offset, skipped }, follow) {
    if (offset <= follow.offset) return; // an old hub's last word
    follow.offset = offset;
    follow.onLines(text.split("\n"), skipped);
    this.#say({ type: "took", reading, count: text.length });
  }

  #got({ call, status, text }) {
    this.#calls.get(call)?.settle({ status, text });
    this.#calls.delete(call);
  }

  #welcomed(lock, port) {
    Object.assign(this.tried, { failures: 0, welcomed: true });
    if (lock) void this.effects.whenGone(lock).then(() => this.#lost(port));
  }

  /** While the tab is awake, a hub that lives is heard every BEAT_MS. */
  #listen() {
    this.#silent = this.effects.isAwake() ? this.#silent + 1 : 0;
    if (this.#silent <= SILENT_BEATS || !this.#port) return;
    this.tried.hung += 1;
    this.#fail(this.#port);
  }

  /** This hub is of no use. Until there is another one, the server cannot be heard. */
  #fail(port) {
    if (port !== this.#port) return;
    this.tried.failures += 1;
    this.#lost(port);
    if (!this.tried.welcomed) return;
    this.#onRuns({ state: "gone" });
    for (const follow of this.#follows.values()) follow.onState("gone");
  }

  #lost(port) {
    if (port !== this.#port) return;
    this.#say({ type: "bye" });
    port.close();
    this.#port = null;
    setTimeout(() => this.#connect(), Math.min(AGAIN_MS * 2 ** this.tried.failures, LAST_AGAIN_MS));
  }

  #say(message) {
    this.#port?.postMessage(message);
  }
}

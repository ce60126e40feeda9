/**
 * What all tabs of the page share: their connections to the server. It lives in a shared worker, or,
 * where there is none, in the one tab it then serves.
 *
 *   tab → hub   {type: "hello", token, awake, lock}      first of all, and with every new token;
 *                                                        `lock` is held as long as the tab lives
 *               {type: "awake", awake}                   a hidden tab is sent nothing
 *               {type: "follow", reading, run, offset}   the run's log, behind `offset`
 *               {type: "took", reading, count}           characters of it that the tab has taken
 *               {type: "leave", reading}
 *               {type: "get", call, path}
 *               {type: "bye"}
 *   hub → tab   {type: "welcome", lock}                  held as long as the hub lives
 *               {type: "beat"}                           every BEAT_MS, to tabs that are awake
 *               {type: "runs", state, runs}              see `server.js`
 *               {type: "lines", reading, text, offset, skipped}
 *               {type: "state", reading, state}          see `../stream.js`
 *               {type: "writer", reading, writer}
 *               {type: "caught-up", reading}             all that the log held has been sent
 *               {type: "restart", reading}               the log is another one: from nothing
 *               {type: "got", call, status, text}
 *
 * Only pages can reach a shared worker, and only over the port they were given: the workers in which
 * a reader's cells run have neither. A token lies in here for as long as a tab that has it.
 */

import { BEAT_MS } from "./link.js";
import { Reading } from "./log.js";
import { Server } from "./server.js";

/** One tab. */
export class Client {
  awake = false;
  version = 0; // of the list of runs that it was told
  /** @type {Server | null} */
  server = null;
  /** @type {Map<number, Reading>} */
  readings = new Map();

  /** @param {MessagePort} port */
  constructor(port) {
    this.port = port;
  }

  say(message) {
    this.port.postMessage(message);
  }
}

export class Hub {
  #clients = new Set();
  #servers = new Map(); // by token
  #beat = 0;

  /**
   * @param {object} effects
   * @param {typeof import("../event-stream.js").followLines} effects.follow
   * @param {typeof fetch} effects.fetch
   * @param {(lock: string) => Promise<void>} effects.whenGone kept when nobody holds the lock any more
   * @param {string} effects.lock that tells the tabs whether this hub lives
   */
  constructor(effects) {
    this.effects = effects;
  }

  /** @param {MessagePort} port of one tab */
  connect(port) {
    const client = new Client(port);
    port.onmessage = ({ data }) => this.#hear(client, data);
    client.say({ type: "welcome", lock: this.effects.lock });
  }

  #hear(client, message) {
    const { type, reading: id, run, offset, count, call, path } = message;
    const reading = client.readings.get(id);
    if (type === "hello") this.#welcome(client, message);
    else if (type === "bye") this.#remove(client);
    else if (!client.server) return;
    else if (type === "awake") this.#wake(client, message.awake);
    else if (type === "follow") this.#follow(client, new Reading(client, id, offset), run);
    else if (type === "took" && reading) client.server.lanes.took(reading, count);
    else if (type === "leave" && reading) this.#leave(client, reading);
    else if (type === "get") void this.#get(client, call, path);
  }

  #welcome(client, { token, awake, lock }) {
    const isNew = !this.#clients.has(client);
    this.#remove(client);
    this.#clients.add(client);
    if (!this.#servers.has(token)) this.#servers.set(token, new Server(token, this.effects));
    Object.assign(client, { server: this.#servers.get(token), version: 0 });
    client.server.clients.add(client);
    if (isNew && lock) void this.effects.whenGone(lock).then(() => this.#remove(client));
    this.#beat ||= setInterval(() => this.#beatAll(), BEAT_MS);
    this.#wake(client, awake);
  }

  #wake(client, awake) {
    client.awake = awake;
    client.server.lanes.wake(client.readings.values());
    client.server.wake();
  }

  #follow(client, reading, run) {
    client.readings.set(reading.id, reading);
    client.server.lanes.add(run, reading);
  }

  #leave(client, reading) {
    client.readings.delete(reading.id);
    client.server.lanes.remove(reading);
  }

  async #get(client, call, path) {
    client.say({ type: "got", call, ...(await client.server.get(path)) });
  }

  #remove(client) {
    const { server, readings } = client;
    this.#clients.delete(client);
    if (!server) return;
    Object.assign(client, { server: null, awake: false, readings: new Map() });
    server.clients.delete(client);
    for (const reading of readings.values()) server.lanes.remove(reading);
    server.wake();
    for (const [token, one] of this.#servers) if (one === server && !server.clients.size) this.#servers.delete(token);
  }

  #beatAll() {
    for (const client of this.#clients) if (client.awake) client.say({ type: "beat" });
  }
}

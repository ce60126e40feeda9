/**
 * `<run-list>`: every run of this machine, of this page, recordings and opened files, in one table: searched, sorted and
 * filtered. The one that is picked is shown in the `<run-view>` below; those that are ticked are compared in its place. Columns and
 * order are kept in this browser.
 */

import { checkbox, make, textButton } from "../../figures/tools.js";
import { MOST_RUNS } from "../compare.js";
import { cellOf, COLUMNS, countsOf, filterRows, rowsOf, sortRows } from "../list.js";
import { EXPECTED, openedFiles, takeDrops } from "../log-files.js";
import { listRecordings } from "../log-reader.js";
import { pageRuns } from "../page-runs.js";
import { storedToken, runner } from "../runner.js";
import { comparedOfAddress, onReturn, queryOfRun, remember, runOfAddress } from "../watch.js";

const KEY = "unfrozen-run-list";
const RECORDING = /\.jsonl$/;
const PAGE = 50; // rows that are drawn before more are asked for

/** @typedef {import("../list.js").Row} Row */

export class RunList extends HTMLElement {
  #parts = null;
  /** @type {import("../log-reader.js").Recording[] | null} null until they are listed */
  #recordings = null;
  #view = document.querySelector("run-view");
  #compare = document.createElement("run-compare"); // before the view, whose place it takes
  #isComparing = false;
  /** @type {Row[]} */
  #rows = [];
  /** @type {Row[]} those that pass the filters, in order */
  #shown = [];
  #chosen = new Set(); // keys of rows in the order in which they were ticked
  #wanted = { text: "", status: "" };
  #kept = readKept();
  #most = PAGE;
  /** @type {Map<string, HTMLTableRowElement>} */
  #drawn = new Map();
  #current = "";
  #frame = 0;

  async connectedCallback() {
    if (this.#parts) return;
    this.#build();
    for (const source of [runner, pageRuns, openedFiles]) source.addEventListener("change", this.#later);
    this.#view.addEventListener("shown", ({ detail: { kind, name } }) => this.#mark(`${kind}:${name}`));
    onReturn(() => this.#arrive() || this.#pick(runOfAddress()));
    runner.start();
    this.#arrive();
    this.#recordings = await listRecordings();
    this.#later();
  }

  #build() {
    const search = make("input", { type: "search", className: "field-input", placeholder: "Search", "aria-label": "Search runs" });
    search.addEventListener("input", () => this.#want({ text: search.value }));
    const status = make("select", { className: "field-input", "aria-label": "State" });
    status.addEventListener("change", () => this.#want({ status: status.value }));
    const names = Object.keys(COLUMNS);
    const boxes = Object.entries(COLUMNS).map(([name, { label }]) =>
      checkbox(label, this.#kept.columns.includes(name), () => this.#keep({ columns: names.filter((_, place) => boxes[place].firstChild.checked) })));
    const columns = make("details", { className: "run-list-columns" }, make("summary", {}, "Columns"), make("fieldset", {}, ...boxes));
    const count = make("output", { className: "faint numeric" });
    const [head, body] = [make("tr"), make("tbody")];
    body.addEventListener("keydown", moveFocus);
    const showMore = () => {
      this.#most += PAGE * 4;
      this.#draw();
    };
    const more = button("Show more", showMore, "button-link");
    const table = make("table", { className: "table" }, make("thead", {}, head), body);
    const scroll = make("div", { className: "run-list-rows", tabIndex: 0, role: "region", "aria-label": "Runs" }, table, more);
    const actions = make("div", { className: "row run-list-actions", hidden: true });
    const tools = make("div", { className: "row run-list-tools" }, search, status, columns, this.#opener(), count);
    this.#parts = { status, count, head, body, more, actions };
    this.replaceChildren(tools, scroll, actions);
    this.#view.before(this.#compare);
  }

  /** Returns the button that opens log files; they can be dropped as well. */
  #opener() {
    const input = make("input", { type: "file", hidden: true, multiple: true });
    input.addEventListener("change", () => {
      for (const file of input.files) this.#open(file);
      input.value = "";
    });
    takeDrops(document.body, (files) => files.forEach((file) => this.#open(file)));
    return make("span", {}, Object.assign(button("Open a log file", () => input.click(), "button-link"), { title: EXPECTED }), input);
  }

  /** Lists a log; it is shown, or compared with what is compared. @param {File} file */
  #open(file) {
    const name = openedFiles.add(file);
    if (!this.#isComparing) return this.#pick({ kind: "file", name });
    this.#tick(`file:${name}`, true);
  }

  // ── what is shown ────────────────────────────────────────────────────────────────────────

  /** Ticks what the address compares, and compares it. @returns {boolean} whether it compares */
  #arrive() {
    const names = comparedOfAddress();
    this.#chosen = new Set(names.map((name) => `${RECORDING.test(name) ? "recording" : "live"}:${name}`));
    this.#setComparing(false); // it may be another comparison, drawn in another way
    this.#setComparing(names.length > 1);
    this.#draw();
    return this.#isComparing;
  }

  /** Shows one run. @param {import("../watch.js").Source | null} source null: the newest */
  #pick(source) {
    this.#setComparing(false);
    this.#view.dispatchEvent(new CustomEvent("choose", { detail: source }));
    this.#draw();
  }

  /** Shows the comparison in place of the run, or the run again. */
  #setComparing(isOn) {
    if (isOn === this.#isComparing) return;
    this.#isComparing = this.#view.hidden = isOn;
    if (isOn) void import("./run-compare.js").then(() => this.#draw());
    else this.#compare.show?.([]);
  }

  #closeComparison() {
    this.#setComparing(false);
    const [kind, ...name] = this.#current.split(":");
    remember(queryOfRun({ kind, name: name.join(":") }));
    this.#draw();
  }

  #tick(key, isOn) {
    this.#chosen[isOn ? "add" : "delete"](key);
    if (this.#isComparing && this.#chosen.size < 2) this.#closeComparison();
    else this.#draw();
  }

  /** Returns what is compared; a run that is removed meanwhile stays, and one of this machine begins before it is listed. */
  #compared() {
    const rows = new Map(this.#rows.map((row) => [row.key, row]));
    const runs = [...this.#chosen].slice(0, MOST_RUNS).map((key) => {
      const row = rows.get(key);
      if (row?.kind === "live") return { key, kind: "live", name: row.id, bytes: row.bytes, title: row.name, status: row.status };
      if (row) return { key, kind: row.kind, name: row.id, title: row.name };
      const [kind, ...name] = key.split(":");
      return kind === "live" && storedToken() ? { key, kind, name: name.join(":"), title: name.join(":") } : null;
    });
    return runs.filter(Boolean);
  }

  /** Whether all that can be listed is. */
  get #isWhole() {
    const { state, isSettled, hasMore } = runner;
    return this.#recordings !== null && !hasMore && state !== "connecting" && (state !== "absent" || isSettled);
  }

  /** Whether so few are chosen that they stay listed when they are filtered out. */
  get #areFew() {
    return this.#chosen.size <= MOST_RUNS;
  }

  #want(change) {
    Object.assign(this.#wanted, change);
    this.#most = PAGE;
    this.#draw();
  }

  #keep(change) {
    Object.assign(this.#kept, change);
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#kept));
    } catch {
      // storage is blocked: it lasts as long as the page
    }
    this.#drawn.clear();
    this.#draw();
  }

  #later = () => {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#rows = rowsOf(runner.runs, [...pageRuns.all.values()], this.#recordings ?? [], [...openedFiles.all.keys()]);
      this.#chosen = renamed(this.#chosen, this.#rows, this.#isWhole);
      this.#draw();
    });
  };

  #draw() {
    const { sort, falling } = this.#kept;
    const found = new Set(filterRows(this.#rows, this.#wanted));
    this.#shown = sortRows(this.#rows.filter((row) => found.has(row) || (this.#areFew && this.#chosen.has(row.key))), sort, falling);
    if (!this.#isComparing && this.#isWhole) this.#chosen = new Set(this.#chosenRows.map(({ key }) => key)); // no others
    this.#drawFilters();
    this.#drawHead();
    this.#drawRows();
    this.#drawActions();
    if (this.#isComparing) this.#compare.show?.(this.#compared());
  }

  #drawFilters() {
    const { status, count } = this.#parts;
    fill(status, "Every state", countsOf(this.#rows, (row) => [row.status]), this.#wanted.status);
    const [shown, all] = [this.#shown.length, this.#rows.length];
    const text = shown === all ? `${all} runs` : `${shown} of ${all} runs`;
    if (count.value !== text) count.value = text;
  }

  #drawHead() {
    const { head } = this.#parts;
    const { columns, sort, falling } = this.#kept;
    const drawn = [sort, falling, ...columns].join();
    if (head.dataset.drawn !== drawn) {
      head.dataset.drawn = drawn;
      const focused = head.contains(document.activeElement) ? document.activeElement.dataset.column : "";
      head.replaceChildren(...["name", ...columns].map((name) => this.#headCell(name)));
      head.querySelector(`[data-column="${focused}"]`)?.focus();
    }
    const box = head.querySelector("input");
    box.checked = this.#chosen.size > 0 && this.#chosen.size === this.#shown.filter(canBeRead).length;
    box.indeterminate = this.#chosen.size > 0 && !box.checked;
  }

  #headCell(name) {
    const { sort, falling } = this.#kept;
    const sortBy = () => this.#keep({ sort: name, falling: sort === name ? !falling : Boolean(COLUMNS[name]?.falling) });
    const head = button(name === "name" ? "Run" : COLUMNS[name].label, sortBy, "table-sort");
    head.dataset.column = name;
    const cell = make("th", { scope: "col" }, head);
    if (sort === name) cell.ariaSort = falling ? "descending" : "ascending";
    if (name !== "name") return cell;
    const all = make("input", { type: "checkbox", "aria-label": "Choose every run that is listed" });
    all.addEventListener("change", () => {
      this.#chosen = new Set(all.checked ? this.#shown.filter(canBeRead).map(({ key }) => key) : []);
      if (this.#isComparing && !all.checked) this.#closeComparison();
      else this.#draw();
    });
    cell.prepend(all);
    return cell;
  }

  #drawRows() {
    const { body, more } = this.#parts;
    const isDrawn = ({ key }, place) => place < this.#most || key === this.#current || (this.#areFew && this.#chosen.has(key));
    const rows = this.#shown.filter(isDrawn).map((row) => this.#row(row));
    let place = body.firstChild;
    for (const row of rows) {
      if (row === place) place = place.nextSibling;
      else body.insertBefore(row, place);
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
    for (const row of rows) row.querySelector("input").checked = this.#chosen.has(row.dataset.key);
    more.hidden = this.#shown.length <= this.#most;
    more.textContent = `Show more: ${this.#shown.length - this.#most} follow`;
    if (rows.length === 0) body.append(make("tr", {}, make("td", { colSpan: 1 + this.#kept.columns.length }, "No run matches.")));
  }

  /** Returns the row of a run; cells that have not changed stay, and with them the focus. */
  #row(run) {
    let row = this.#drawn.get(run.key);
    if (!row) {
      row = make("tr", {}, this.#nameCell(run), ...this.#kept.columns.map(() => make("td")));
      row.dataset.key = run.key;
      this.#drawn.set(run.key, row);
    }
    const [name, ...cells] = row.children;
    redraw(name.lastChild, run.note, () => [make("span", { className: "faint", title: run.note }, run.note)]);
    this.#kept.columns.forEach((column, index) => {
      const cell = cellOf(column, run);
      redraw(cells[index], JSON.stringify(cell), () => [cell.text, cell.note && make("span", { className: `run-note ${cell.tone || "faint"}` }, cell.note)]);
    });
    row.ariaCurrent = this.#isShown(run.key) ? "true" : null;
    return row;
  }

  #nameCell(run) {
    const box = make("input", { type: "checkbox", "aria-label": `Choose ${run.name || run.note}`, disabled: !canBeRead(run) });
    box.addEventListener("change", () => this.#tick(run.key, box.checked));
    const query = queryOfRun({ kind: run.kind, name: run.id });
    const name = query && !box.disabled ? make("a", { href: query }) : make("button", { type: "button", className: "button-link", disabled: box.disabled });
    name.append(run.name);
    name.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a window of its own
      event.preventDefault();
      this.#pick({ kind: run.kind, name: run.id });
    });
    return make("th", { scope: "row" }, box, name, make("div", { className: "run-list-notes" }));
  }

  #isShown(key) {
    return key === this.#current && !this.#isComparing;
  }

  /** Marks the run that the view shows. */
  #mark(key) {
    if (key === this.#current) return;
    this.#current = key;
    for (const [other, row] of this.#drawn) row.ariaCurrent = this.#isShown(other) ? "true" : null;
  }

  // ── what is done with those that are chosen ──────────────────────────────────────────────

  /** @returns {Row[]} */
  get #chosenRows() {
    return this.#shown.filter(({ key }) => this.#chosen.has(key));
  }

  #drawActions() {
    const { actions } = this.#parts;
    const rows = this.#chosenRows;
    actions.hidden = rows.length === 0 && !this.#absent;
    const files = this.#isComparing ? rows.filter(({ kind }) => kind === "file").map(({ name }) => name) : [];
    const drawn = JSON.stringify([rows.map(({ key }) => key), this.#absent, this.#isComparing]);
    if (actions.dataset.drawn === drawn) return;
    actions.dataset.drawn = drawn;
    const buttons = [make("span", { className: "numeric" }, `${rows.length} chosen`), this.#compareButton(rows.length)];
    if (this.#absent) buttons.push(make("span", { className: "soft", role: "status" }, `Not here: ${this.#absent}. Removed, on another machine, or without an event yet.`));
    if (files.length) buttons.push(make("span", { className: "soft" }, `Not in the address: ${files.join(", ")}, which only this page has.`));
    actions.replaceChildren(...buttons);
  }

  /** The names of those that are compared and not there. */
  get #absent() {
    const known = new Set(this.#rows.map(({ key }) => key));
    const absent = this.#isComparing && this.#isWhole ? [...this.#chosen].filter((key) => !known.has(key)) : [];
    return absent.map((key) => key.slice(key.indexOf(":") + 1)).join(", ");
  }

  #compareButton(count) {
    if (this.#isComparing) return button("Close the comparison", () => this.#closeComparison());
    const compare = () => {
      this.#setComparing(true);
      this.#draw();
    };
    const [fits, isTooMany] = [count >= 2 && count <= MOST_RUNS, count > MOST_RUNS];
    return Object.assign(button(isTooMany ? `Compare (${MOST_RUNS} at most)` : "Compare", compare), { disabled: !fits });
  }
}

/** Returns the chosen keys, of which the address knows the names alone; a recording may lack its ending, once all is listed. */
function renamed(chosen, rows, isWhole) {
  const keys = new Set(rows.map(({ key }) => key));
  const found = (name) => rows.find(({ id }) => id === name || (isWhole && id === `${name}.jsonl`));
  return new Set([...chosen].map((key) => (keys.has(key) ? key : (found(key.slice(key.indexOf(":") + 1))?.key ?? key))));
}

function canBeRead({ problem }) {
  return !problem;
}

function button(text, act, className = "button button-small") {
  return textButton(className, text, act);
}

/** Replaces the children of an element where what they show has changed. */
function redraw(element, drawn, children) {
  if (element.dataset.drawn === drawn) return;
  element.dataset.drawn = drawn;
  element.replaceChildren(...children().filter(Boolean));
}

/** Fills a filter with what can be chosen; the choice stays. */
function fill(select, every, counts, chosen) {
  const drawn = JSON.stringify(counts);
  if (select.dataset.drawn === drawn) return;
  select.dataset.drawn = drawn;
  const isThere = counts.some(([value]) => value === chosen);
  const kept = chosen && !isThere ? [[chosen, 0]] : [];
  select.replaceChildren(new Option(every, ""), ...[...counts, ...kept].map(([value, count]) => new Option(`${value} (${count})`, value)));
  select.value = chosen;
}

/** Arrows, Home and End move the focus over the rows: from a box to a box, from a name to a name. */
function moveFocus(event) {
  const row = event.target.closest("tr");
  const rows = [...row.parentNode.children];
  const at = rows.indexOf(row);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
  const which = event.target.matches("input") ? "input" : "a, button";
  if (next === undefined || !rows[next]) return;
  event.preventDefault();
  rows[next].querySelector(which)?.focus();
}

/** @returns {{columns: string[], sort: string, falling: boolean}} what was kept, or as it is at first */
function readKept() {
  const usual = { columns: Object.keys(COLUMNS).filter((name) => COLUMNS[name].usual), sort: "started", falling: true };
  try {
    const { columns, sort, falling } = JSON.parse(localStorage.getItem(KEY));
    const known = Object.keys(COLUMNS).filter((name) => columns.includes(name));
    return { columns: known, sort: sort === "name" || Object.hasOwn(COLUMNS, sort) ? sort : usual.sort, falling: falling === true };
  } catch {
    return usual; // nothing is kept, or storage is blocked
  }
}

customElements.define("run-list", RunList);

/**
 * `<data-plot>`: a plot that the reader can point at, read with the keyboard, zoom and save.
 *
 * Property `data` is one plot of the cell contract as parsed JSON (or a list of one). Baked plots
 * carry it in a `<script type="application/json" class="data">`, read when the element is upgraded.
 * Attribute `height`, in pixels, overrides the height that goes with the width.
 *
 *   pointer over it     numbers at the nearest x          ← → (Shift: by tenths), Home, End   the same
 *   drag (mouse)        zoom into that stretch of x       Escape                              leave
 */

import { fileName, placeName, saveFile, stateView, keepFocus, toolViews } from "../figures/tools.js";
import { h, toDom } from "../figures/vnode.js";
import { whenNearViewport } from "../page/visibility.js";
import { plotProblem } from "../schema/check.js";
import { cursorStops, cursorView, nearestStop, readout, readoutText } from "./cursor.js";
import { hasData, plotTable, readPlot, zoomed } from "./model.js";
import { plotFile } from "./export.js";
import { layoutPlot } from "./layout.js";
import { WIDE } from "./text.js";
import { descriptionOf, figureView, pictureView } from "./view.js";
import { bakedData, DataTable } from "../tables/data-table.js";

const KEYS_HINT = "Arrow keys read its values, Home and End jump, Escape leaves.";

/** @see module comment */
export class DataPlot extends HTMLElement {
  #data;
  #plot = null; // null while a message is shown instead
  #shown = null; // #plot, or the part zoomed into
  #layout = null;
  #sorted = null; // the stops of #layout, once someone asks
  #cursor = null; // position in #stops
  #width = 0;
  #zoom = new PlotZoom();
  #observer = new ResizeObserver(() => this.#onResize());

  constructor() {
    super();
    this.addEventListener("click", (event) => this.#onClick(event));
    this.addEventListener("keydown", (event) => this.#onKey(event));
    this.addEventListener("pointermove", (event) => this.#onMove(event));
    this.addEventListener("pointerleave", (event) => this.#onLeave(event));
    this.addEventListener("pointerdown", (event) => this.#onDown(event));
    this.addEventListener("pointerup", (event) => this.#onUp(event));
    this.addEventListener("pointercancel", () => this.#zoom.cancel());
    this.addEventListener("focusout", () => this.#setCursor(null));
  }

  connectedCallback() {
    if (Object.hasOwn(this, "data")) {
      const early = this.data;
      delete this.data;
      this.data = early;
    } else if (this.#plot) this.#redraw();
    else void whenNearViewport(this).then(() => this.#upgrade()); // as printed until then
    this.#observer.observe(this);
  }

  #upgrade() {
    const baked = this.#data === undefined ? bakedData(this) : undefined;
    if (baked !== undefined) this.data = baked;
  }

  disconnectedCallback() {
    this.#observer.disconnect();
  }

  /** The plot as parsed JSON; setting it draws the plot, or why it cannot be drawn. */
  get data() {
    this.#upgrade();
    return this.#data;
  }

  set data(value) {
    this.#data = Array.isArray(value) && value.length === 1 ? value[0] : value;
    const pointed = this.#cursor === null ? null : this.#stops[this.#cursor].at;
    const isOpen = this.querySelector(".plot-data") !== null;
    this.#cursor = null;
    this.#plot = null;
    keepFocus(this, () => {
      this.#draw();
      if (isOpen && this.#plot) this.#openData();
    });
    if (pointed !== null && this.#plot) this.#setCursor(nearestStop(this.#stops, pointed));
  }

  #draw() {
    this.#zoom.cancel();
    if (this.#data === undefined || this.#data === null) {
      return this.#drawState(stateView("empty", "No plot yet", "Run the cell to draw it."));
    }
    const problem = plotProblem(this.#data);
    if (problem) this.#drawState(stateView("error", "This plot could not be drawn", problem));
    else this.#drawFigure();
  }

  #drawState(view) {
    this.#layout = null;
    this.replaceChildren(toDom(view));
  }

  #drawFigure() {
    const plot = readPlot(this.#data);
    if (!hasData(plot)) {
      this.#drawState(
        figureView(plot, stateView("empty", "Nothing to draw yet", "This plot has no values.")),
      );
      return;
    }
    this.#plot = plot;
    this.#shown = plot;
    this.replaceChildren(toDom(figureView(plot, this.#picture())));
    const stage = this.#stage;
    stage.classList.add("plot-stage");
    stage.tabIndex = 0;
    stage.setAttribute("role", "application");
    stage.setAttribute("aria-roledescription", "chart");
    stage.setAttribute("aria-label", `${descriptionOf(plot)} ${KEYS_HINT}`);
    stage.after(toDom(h("p", { class: "plot-announcement visually-hidden", role: "status" })));
    this.#drawTools();
  }

  get #stops() {
    this.#sorted ??= cursorStops(this.#layout);
    return this.#sorted;
  }

  get #stage() {
    return this.querySelector(".plot-canvas");
  }

  #picture() {
    this.#width = Math.round(this.clientWidth) || WIDE;
    const height = Number(this.getAttribute("height")) || undefined;
    this.#layout = layoutPlot(this.#shown, { width: this.#width, height });
    this.#sorted = null;
    return pictureView(this.#layout);
  }

  /** Redraws the picture alone, for another width or another range of x. */
  #redraw() {
    this.#cursor = null;
    this.#stage.replaceChildren(toDom(this.#picture()));
  }

  #onResize() {
    const width = Math.round(this.clientWidth);
    if (this.#plot && width > 0 && width !== this.#width) this.#redraw();
  }

  #drawTools() {
    const isOpen = this.querySelector(".plot-data") !== null;
    const whole = { action: "whole", label: "Whole range", hint: "Leave the zoom" };
    const tools = [
      {
        action: "data",
        label: isOpen ? "Hide data" : "Show data",
        hint: "The numbers as a table",
        expanded: String(isOpen),
      },
      { action: "svg", label: "SVG", hint: "Save the picture as SVG" },
      { action: "png", label: "PNG", hint: "Save the picture as PNG" },
      { action: "csv", label: "CSV", hint: "Save the numbers as CSV" },
    ];
    const all = this.#shown === this.#plot ? tools : [whole, ...tools];
    this.querySelector(".plot-tools").replaceChildren(...toolViews(all).map((view) => toDom(view)));
  }

  // ---- cursor

  #setCursor(position) {
    const picture = this.querySelector(".plot-stage .plot-picture");
    if (!this.#layout || !picture || position === this.#cursor) return;
    this.#cursor = position;
    picture.querySelector(".plot-cursor")?.remove();
    if (position !== null)
      picture.append(toDom(cursorView(this.#layout, this.#stops[position]), true));
  }

  /** Pixel x of a pointer in the picture's own units, or null outside the canvas. */
  #pixel(event) {
    const picture =
      this.#layout && event.target.closest(".plot-canvas")?.querySelector(".plot-picture");
    if (!picture) return null;
    const box = picture.getBoundingClientRect();
    return ((event.clientX - box.left) * this.#layout.width) / box.width;
  }

  #onMove(event) {
    const at = this.#pixel(event);
    if (this.#zoom.isDragging) {
      if (at !== null)
        this.#zoom.drag(at, this.#layout, this.#stage.querySelector(".plot-picture"));
    } else this.#setCursor(at === null ? null : nearestStop(this.#stops, at));
  }

  /** The cursor stays when a finger is lifted, and is removed when a mouse leaves. */
  #onLeave(event) {
    if (event.pointerType !== "touch") this.#setCursor(null);
  }

  #onKey(event) {
    if (event.target !== this.#stage || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.#stops.length - 1;
    const stride = event.shiftKey ? Math.max(1, Math.round(last / 10)) : 1;
    const from = this.#cursor;
    const steps = {
      ArrowRight: from === null ? 0 : Math.min(last, from + stride),
      ArrowLeft: from === null ? last : Math.max(0, from - stride),
      Home: 0,
      End: last,
    };
    if (event.key in steps) this.#walkTo(steps[event.key]);
    else if (event.key === "Escape" && from !== null) this.#setCursor(null);
    else if (event.key === "Escape" && this.#shown !== this.#plot) this.#showWhole();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #walkTo(position) {
    this.#setCursor(position);
    const reading = readout(this.#shown, this.#stops[position].index);
    this.querySelector(".plot-announcement").textContent = readoutText(reading);
  }

  #announce(text) {
    const status = this.querySelector(".plot-tools .figure-message");
    if (status) status.textContent = text;
  }

  // ---- zoom

  #onDown(event) {
    const at = this.#pixel(event);
    if (at === null) return;
    if (event.pointerType === "touch") this.#setCursor(nearestStop(this.#stops, at));
    const canZoom = this.#plot.type === "line" && !this.#plot.isCategory;
    if (!canZoom || event.pointerType !== "mouse" || event.button !== 0) return;
    this.#zoom.start(at);
    this.#stage.setPointerCapture(event.pointerId);
  }

  #onUp() {
    const range = this.#zoom.end(this.#layout);
    const part = range && zoomed(this.#shown, range);
    if (!part) return;
    this.#shown = part;
    this.#redraw();
    this.#drawTools();
    this.#announce(`Zoomed to ${part.x.length} points`);
  }

  #showWhole() {
    this.#shown = this.#plot;
    this.#redraw();
    this.#drawTools();
    this.#stage.focus();
  }

  // ---- tools

  #onClick(event) {
    const action = event.target.closest(".plot-tools button")?.dataset.action;
    if (action === "data") this.#toggleData();
    else if (action === "whole") this.#showWhole();
    else if (action) void this.#save(action);
  }

  #toggleData() {
    const open = this.querySelector(".plot-data");
    open?.remove();
    keepFocus(this, () => (open ? this.#drawTools() : this.#openData()));
  }

  #openData() {
    const table = new DataTable();
    table.className = "plot-data";
    this.append(table);
    table.data = plotTable(this.#data);
    this.#drawTools();
  }

  async #save(kind) {
    const name = fileName(this.#plot.title || placeName(this), "plot", kind);
    const picture = this.#stage.querySelector(".plot-picture");
    try {
      saveFile(name, await plotFile(kind, { picture, title: this.#plot.title, data: this.#data }));
      this.#announce(`Saved ${name}`);
    } catch (error) {
      this.#announce(`${name} could not be made: ${error.message}`);
    }
  }
}

/** Shorter drags are clicks. */
const SHORTEST_DRAG = 8;

/**
 * Dragging across a plot to zoom: it remembers the start, draws the selected stretch and returns the range
 * of x. One drag at a time; pixels are in the picture's own units.
 */
export class PlotZoom {
  #from = null;
  #to = null;
  #box = null;

  get isDragging() {
    return this.#from !== null;
  }

  start(at) {
    this.#from = at;
    this.#to = at;
  }

  /**
   * Draws the stretch from the start to here.
   * @param {number} at pixel x
   * @param {object} layout from `layoutPlot`
   * @param {SVGSVGElement} picture
   */
  drag(at, layout, picture) {
    const { left, right, top, bottom } = layout.frame;
    this.#to = at;
    const [from, to] = this.#span(left, right);
    this.#box?.remove();
    const box = { class: "plot-zoom-box", x: from, y: top, width: to - from, height: bottom - top };
    this.#box = picture.appendChild(toDom(h("rect", box), true));
  }

  #span(left, right) {
    return [this.#from, this.#to]
      .map((at) => Math.max(left, Math.min(right, at)))
      .sort((a, b) => a - b);
  }

  cancel() {
    this.#box?.remove();
    this.#from = null;
    this.#box = null;
  }

  /**
   * Ends the drag.
   * @param {object | null} layout from `layoutPlot`
   * @returns {[number, number] | null} range of x, or null when it was a click
   */
  end(layout) {
    if (!this.isDragging || !layout) return null;
    const [from, to] = this.#span(layout.frame.left, layout.frame.right);
    this.cancel();
    return to - from < SHORTEST_DRAG ? null : [layout.x.invert(from), layout.x.invert(to)];
  }
}

if (!customElements.get("data-plot")) customElements.define("data-plot", DataPlot);

/** Dragging across a plot to zoom: remembers the start, draws the stretch, gives the range of x. */

import { toDom, h } from "../figures/vnode.js";

/** Shorter drags are clicks. */
const SHORTEST_DRAG = 8;

/** One drag at a time; pixels in the picture's own units. */
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

/** Where in the article an address leads that holds more than a place: see planner/address.js. */

import { readFragment } from "../planner/address.js";

/** Goes to the place of such an address; a plain one is the browser's own. */
export function goToPlace() {
  const { place, queries } = readFragment(location.hash);
  if (!place || queries.length === 0 || scrollY > 0) return;
  document.getElementById(place)?.scrollIntoView();
}

// What the order of a log has to say of each of some events.
import { accept, newOrder } from "../../../web/schema/event-log.js";

export function accepted(events) {
  const order = newOrder();
  return events.map((event) => accept(order, event));
}

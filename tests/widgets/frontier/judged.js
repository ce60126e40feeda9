// What the order of a log has to say of each of some events.
import { judge, newOrder } from "../../../web/frontier/log.js";

export function judged(events) {
  const order = newOrder();
  return events.map((event) => judge(order, event));
}

"""The frontier: what comes from outside is checked for shape, type, length and order, once.

Shapes are plain data, written here and nowhere else. Two small interpreters read them: `check` in
Python, for the runner and the cells, and `web/frontier/check.js` in the page. Both give the same
verdict in the same words; a test holds them to it with thousands of damaged values.

    verdict = log.read_line(line)             one line of events.jsonl
    verdict = check(STARTED, value)           anything else, parsed already
    verdict = read_file(STARTED, data)        … or as it lies in a file
    verdict.value                             what may be used: known fields only; None if refused
    verdict.problem                           why it is refused, one sentence; "" if it is not
    verdict.unknown                           how many fields nobody here knows were left out

Reading order:

- `shapes` — what a value may be, as data
- `told` — a value in a sentence
- `check` — a value against its shape
- `read` — text to a value, bounded
- `kinds` — what each kind of event holds
- `log` — event lines, and the order in which they may come
- `files` — started.json, orders.json, state.json, run.toml
- `published` — the table and the plots of a cell
- `served` — what a server of runs answers its page
- `address` — the settings that an address carries
- `policy` — what a browser may load and run for the page
- `page` — all of it as data for the page
"""

from unfrozen.frontier.check import Checked, check
from unfrozen.frontier.files import ORDERS, RECIPE, STARTED, STATE
from unfrozen.frontier.log import Order, read_event, read_line
from unfrozen.frontier.read import read_file

__all__ = [
    "ORDERS",
    "RECIPE",
    "STARTED",
    "STATE",
    "Checked",
    "Order",
    "check",
    "read_event",
    "read_file",
    "read_line",
]

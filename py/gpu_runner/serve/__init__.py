"""The page and its runs, on one loopback origin.

Reading order:

- `guard` — the one door: Host, Sec-Fetch-Site, token
- `connections` — … and before it: how many may wait, and how long
- `site` — the built site as a table from address to bytes
- `stream` — a log as server-sent events
- `recipes` — runs that the page may start, by name, with numbers in bounds
- `launch` — … as processes of their own, one at a time
- `body` — the body of a command, strictly
- `control` — what the page may change, where it is allowed to
- `app` — all of it behind one address
"""

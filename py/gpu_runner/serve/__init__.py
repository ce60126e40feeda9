"""The page and its runs, on one loopback origin.

Reading order:

- `guard` — which requests are let in: Host, Sec-Fetch-Site, token
- `connections` — how many connections may wait, and how long
- `pools` — threads by what they wait for
- `site` — the built site as a table from address to bytes
- `publish` — finished runs in a copy of the site
- `stream` — a log as server-sent events
- `launch` — runs that the page resumes or blends, as processes of their own
- `asker` — the models of a run that has ended, asked in a process of their own
- `control` — what the page may change, where that is allowed
- `app` — all of it behind one address
- `mcp` — plans and runs for an agent, over stdin and stdout
"""

"""events.jsonl: written, read while it grows, listed, exported, imported.

Reading order:

- `tail` — a log read while it grows, by byte offset
- `writer` — one object a line, one write a line
- `heartbeat` — a sign of life, and a clock that stops while the run is paused
- `opened` — the log of each process of a run
- `mailbox` — what the page asks of a run: one small file, replaced whole
- `runs` — which runs there are, and how each stands
- `export` — a run's numbers for other tools
- `importing` — runs of other tools, as logs of ours
"""

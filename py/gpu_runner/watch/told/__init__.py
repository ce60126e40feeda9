"""What a watched run says: to the page by its log, to a person on the terminal.

Reading order:

- `described` — what is wished for, and the first event
- `findings` — what is said of the first steps
- `voice` — what a person hears; where a run lies, and how it ends
- `telling` — the log, the machine beside it, and what the page asks
"""

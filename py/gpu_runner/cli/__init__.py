"""The command line: its words, its help, and nothing heavy before it is needed.

Reading order:

- `loading` — the libraries behind a run
- `exits` — a mistake becomes one message and its exit code
- `commands` — train · plan · resume · export · serve · …
- `data` — what a run would train, before it does
- `bringing` — `import`: runs of other tools
- `calibrating` — `calibrate`: what this machine really does
- `application` — … as one application, each loaded when it is asked for
- `command_line` — `unfrozen`: one command for the page, the planner and the runner
"""

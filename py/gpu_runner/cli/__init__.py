"""The command line: its commands, their help, and nothing heavy before it is needed.

Reading order:

- `console` — the libraries behind a run; an error becomes one message and its exit code
- `plan` — the planner, which parses its own options
- `options` — the options of `train`, one for each setting
- `commands` — serve, train, resume, export, data, import, doctor and more
- `application` — all of them as one application
- `command_line` — `unfrozen`: one command for the page, the planner and the runner
"""

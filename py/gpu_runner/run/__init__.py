"""One run from its command line to its last line.

Reading order:

- `progress` — what a person at the terminal sees
- `record` — everything a run says, event by event
- `observe` — between two steps: evaluate, keep, go back to the best
- `start_event` — the first event: what runs, on what, by which plan
- `rows_event` — … and the second: what is trained
- `checkpointer` — what a run leaves on disk: checkpoints, the best model and the last, pruned
- `ending` — how a run ended: log, terminal, exit code
- `out_of_memory` — what is known of a run that had no memory left
- `signals` — Ctrl-C, SIGTERM and SIGHUP as a polite request
- `control` — between two steps: pause, save, stop, all processes alike
- `export` — its model as one directory, from a checkpoint in shards too
- `running` — a run that is set up, to its last line
- `start` — from its command line to its first step
- `resuming` — … and from its last checkpoint on
"""

"""One run from its command line to its last line.

Reading order:

- `events` — what a run says, in its log and at the terminal
- `observe` — between two steps: evaluate, keep, go back to the best
- `checkpointer` — what a run leaves on disk: checkpoints, the best model and the last, pruned
- `ending` — how a run ended: log, terminal, exit code
- `signals` — Ctrl-C, SIGTERM and SIGHUP as a polite request
- `control` — between two steps: pause, save, stop, all processes alike
- `export` — its model as one directory, from a checkpoint in shards too
- `loading` — its model, read by each process as far as it will hold it
- `prepared` — what a run has before it begins or goes on
- `running` — a run that is set up, to its last line
- `start` — from its command line to its first step
- `resuming` — … and from its last checkpoint on
"""

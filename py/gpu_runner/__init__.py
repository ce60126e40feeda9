"""Full fine-tuning with PyTorch, streamed to the page as it happens.

Reading order (each module uses only those above it; folders give their own order):

- `errors` — errors and exit codes
- `text` — text for a terminal
- `locks` — locks of open files, on every system
- `atomic` — files and folders that appear whole
- `outgoing` — secrets and places, looked for in what leaves this machine
- `installed` — the installation: the command to type, the folders of page and runs
- `address` — where the server on this machine answers
- `system` — the machine of a run: limits, GPUs, price, samples
- `demo` — the small model of a first run, and its data
- `config` — what a run is asked for
- `data` — from a row to a batch
- `world` — several processes as one
- `model` — found, loaded; its blocks and its loss
- `optim` — how a gradient becomes an update
- `checkpoint` — directories that are whole or absent
- `memory` — the memory of a step: measured, predicted, and explained where it runs out
- `plan` — a run before it costs anything
- `train` — the step, and what is measured of it
- `log` — events.jsonl: written, read while it grows, listed
- `run` — one run from its command line to its last line
- `cluster` — … on machines that come and go
- `watch` — any other training loop in the page
- `serve` — the page and its runs, on one loopback origin
- `machine` — doctor and selftest
- `cli` — the command line
"""

"""Full fine-tuning with PyTorch, streamed to the page as it happens.

Reading order (each module uses only those above it; folders give their own order):

- `errors` — what can go wrong, and its exit code
- `plain` — files opened without trust: no link, no pipe, no device
- `installed` — how this was installed: what to type, where runs lie
- `text` — words for a terminal
- `system` — the machine under a run, sampled from the side
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
- `calibrate` — what this machine really does, in place of what the planner assumes
- `serve` — the page and its runs, on one loopback origin
- `doctor` — what is installed, what is missing, what to type about it
- `selftest` — whether this machine computes what it should
- `bench` — what this machine trains a second, and in how much memory
- `cli` — the command line
"""

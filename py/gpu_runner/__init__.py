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
- `serve` — the page and its runs, on one loopback origin
- `machine` — what the machine has, whether it computes correctly, and how fast
- `cli` — the command line
"""

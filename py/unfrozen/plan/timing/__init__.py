"""The seconds of a step, term by term; `unfrozen.plan.step_time` adds them up.

Reading order:

- `calibration` — what was measured on the reader's own machine
- `parts` — a step's seconds by cause
- `products` — what a card is given to do; one matrix product, from its sizes
- `layers` — what one layer multiplies, scans, moves and launches
- `attention` — by the kernel that runs it
- `outside` — embedding, head, loss, and the bytes of an update
- `passes` — one micro-batch on one card
- `collectives` — what cards send each other, by what joins them
- `sharing` — … as far as products do not hide it
- `pipeline` — how long stages wait for each other
- `host` — launches, and what moves to the host
- `words` — what binds a step, and how sure that is
"""

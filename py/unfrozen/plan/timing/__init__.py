"""The seconds of a step, term by term; `unfrozen.plan.step_time` adds them up.

Reading order:

- `calibration` — what was measured on the reader's own machine
- `parts` — a step's seconds by cause
- `products` — one matrix product, from its sizes
- `work` — what a card is given to do: products, and bytes with their kernels
- `mixing` — what stands in place of attention
- `attention` — by the kernel that runs it
- `layers` — what one layer multiplies, moves and launches
- `outside` — embedding, head, loss, and the bytes of an update
- `passes` — one micro-batch on one card
- `collectives` — what cards send each other, by what joins them
- `sharing` — … as far as products do not hide it
- `pipeline` — how long stages wait for each other
- `host` — launches, and what moves to the host
- `words` — what binds a step, and how sure that is
"""

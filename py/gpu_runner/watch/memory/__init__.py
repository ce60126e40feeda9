"""What a watched step holds: foretold before it runs, and measured while it does.

Reading order:

- `in_parts` — a model that FSDP2 has cut, copied and cut again without tensors
- `metering` — the runner's meters, driven by hooks
- `measuring` — which steps are measured
- `foretelling` — the step itself, on tensors that hold nothing
- `settings` — … and otherwise, so that it fits
- `forecasts` — when it is foretold, and when again
- `to_come` — the heaviest batch to come
- `shortage` — no memory was left
- `holding` — all of it together
"""

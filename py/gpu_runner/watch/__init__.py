"""Somebody else's training loop in the page: what it will hold, holds and forgets.

    run = unfrozen.watch(model, optimizer, task=rows, general={"english": rows})     any loop
    Trainer(…, callbacks=[unfrozen.Callback(task=rows)])                  transformers and TRL
    Accelerator(log_with=unfrozen.Tracker(model, optimizer, task=rows))         Accelerate

Reading order:

- `boundary` — what is ours never raises into the loop
- `taps` — the hooks
- `steps` — from what they hear to finished steps
- `spending` — how often what costs something is done
- `memory` — foretold and measured
- `looking` — held-out losses, drift and samples, unfelt by the training
- `told` — the log, and what a person hears
- `watching` — all of it together
- `begin` — for any loop
- `callback` — for transformers and TRL
- `tracker` — for Accelerate
"""

from gpu_runner.watch.begin import watch
from gpu_runner.watch.watching import WatchedRun

__all__ = ["WatchedRun", "watch"]

"""Any training loop in the page: its predicted and measured memory, and what it forgets.

    run = unfrozen.watch(model, optimizer, task=rows, general={"english": rows})     any loop
    Trainer(…, callbacks=[unfrozen.Callback(task=rows)])                  transformers and TRL
    Accelerator(log_with=unfrozen.Tracker(model, optimizer, task=rows))         Accelerate
    Trainer(…, callbacks=[unfrozen.LightningCallback(task=rows)])               Lightning

Reading order:

- `patches` — functions of PyTorch and the call of a model, wrapped while a run observes them
- `autograd_graph` — which forward passes a backward pass goes through
- `hooks` — the hooks, which never raise into the loop
- `steps` — finished steps, from what the hooks report
- `metrics` — MFU and token accuracy, within a budget of time
- `measurement` — which steps are measured, and how
- `predictions` — when memory is predicted, and whether the heaviest batch will fit
- `memory` — predicted, measured, and explained where it runs out
- `evaluation` — held-out losses, drift and samples, without effect on training
- `checks` — warnings about the first step
- `options` — the options of a run, and the first events of its log
- `run_log` — the log, and the messages on the terminal
- `run` — `watch`, and the run that it returns
- `callback` — for transformers and TRL
- `tracker` — for Accelerate
- `lightning` — for Lightning
"""

from gpu_runner.watch.run import WatchedRun, watch

__all__ = ["WatchedRun", "watch"]

"""`unfrozen.LightningCallback`: watches the Trainer of Lightning.

    Trainer(callbacks=[unfrozen.LightningCallback(task=rows, tokenizer=tokenizer)])

A LightningModule often calls the network inside it and never itself, so that network is watched
where it holds all weights. What the module logs with `self.log` is shown as charts of its own.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

from torch import nn

from gpu_runner.watch.hooks import ErrorBoundary, guarded
from gpu_runner.watch.run import WatchedRun, watch
from gpu_runner.watch.run_log import WatchTerminal

_PACKAGES: Final = ("lightning.pytorch", "pytorch_lightning")
"""Two names of one library; a script uses one of them."""


def _find_library() -> Any:
    """Return the library that the script has imported, else the one that is installed."""
    for name in _PACKAGES:
        if name in sys.modules:
            return sys.modules[name]
    try:
        return import_module(_PACKAGES[0])
    except ModuleNotFoundError:
        return import_module(_PACKAGES[1])


_LIBRARY: Final = _find_library()


class LightningCallback(_LIBRARY.Callback):  # type: ignore[name-defined, misc]
    """A callback for Lightning's Trainer, with the options of `unfrozen.watch`.

    `run` is the watched run while the Trainer trains.
    """

    def __init__(self, **options: Any) -> None:
        self.run: WatchedRun | None = None
        self._guard = ErrorBoundary(WatchTerminal().warn)
        self._options = options

    @guarded("the trainer is not watched")
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start to watch. A second start closes the first run."""
        if self.run is not None:
            self.run.close("stopped", "the trainer restarted")
        given: dict[str, Any] = {
            "trainer": f"Lightning {_LIBRARY.__version__}",
            "steps": _count_steps(trainer),
            "config": dict(pl_module.hparams),
            "can": ("pause", "evaluate", "stop"),
        }
        self.run = watch(_called_module(pl_module), trainer.optimizers, **given | self._options)

    @guarded("the page cannot control the trainer")
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the step that has ended, and pass on the commands of the page."""
        del pl_module, outputs, batch, batch_idx
        if self.run is None:
            return
        if trainer.global_step % trainer.log_every_n_steps == 0:
            self.run.log(trainer.logged_metrics)
        self.run.end_of_step()
        if self.run.should_stop:
            trainer.should_stop = True

    @guarded("what the module logs is not shown")
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Show what the module has logged of its validation."""
        del pl_module
        if self.run is not None and not trainer.sanity_checking:
            self.run.log(trainer.logged_metrics)

    @guarded("the run could not be closed")
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the run."""
        del trainer, pl_module
        if self.run is not None:
            asked = self.run.should_stop
            self.run.close("stopped" if asked else "finished", "asked by the page" if asked else "")

    @guarded("the run could not be closed")
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the run of a Trainer that ended with an error."""
        del trainer, pl_module
        if self.run is not None:
            self.run.close_after(exception)


def _count_steps(trainer: Any) -> int | None:
    """Return the number of planned steps; None where there is no end."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if 0 < steps < float("inf") else None


def _called_module(module: nn.Module) -> nn.Module:
    """Return the network within a module that holds all of its weights; else the module."""
    count = sum(1 for _ in module.parameters())
    for child in module.children():
        if count and sum(1 for _ in child.parameters()) == count:
            return child
    return module

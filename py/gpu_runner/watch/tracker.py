"""`unfrozen.Tracker`: watches a loop that uses Accelerate, as one of its trackers.

    accelerator = Accelerator(log_with=unfrozen.Tracker(model, optimizer, task=rows))
    accelerator.init_trackers("my run", config={"lr": 1e-4})
    …
    accelerator.end_training()

Losses are read where `backward` is called; what the loop logs is shown beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import accelerate
from accelerate.tracking import GeneralTracker
from torch import nn

from gpu_runner.watch.hooks import ErrorBoundary, guarded
from gpu_runner.watch.run import WatchedRun, watch
from gpu_runner.watch.run_log import WatchTerminal


class Tracker(GeneralTracker):
    """A tracker with the options of `unfrozen.watch`; the run starts with `init_trackers`."""

    name = "unfrozen"
    requires_logging_directory = False
    main_process_only = False

    def __init__(self, model: nn.Module, optimizer: Any = None, **options: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given: tuple[nn.Module, Any] | None = (model, optimizer)
        self._options = options
        self.run: WatchedRun | None = None
        self._guard = ErrorBoundary(WatchTerminal().warn)

    @property
    def tracker(self) -> WatchedRun | None:
        """The watched run."""
        return self.run

    @guarded("the loop is not watched")
    def start(self) -> None:
        """Start to watch."""
        if self._given is not None:
            model, optimizer = self._given
            self._given = None
            trainer = f"a loop with Accelerate {accelerate.__version__}"
            self.run = watch(model, optimizer, trainer=trainer, **self._options)

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Pass the configuration of the loop to the page."""
        if self.run is not None:
            self.run.describe(values)

    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log a step that has ended, and the values of the loop."""
        del step, kwargs
        if self.run is not None:
            self.run.log(values)
            self.run.end_of_step()

    def finish(self) -> None:
        """Close the run."""
        if self.run is not None:
            self.run.close()

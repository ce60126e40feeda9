"""`unfrozen.watch`: one training loop, followed from `watch` to `close`.

The hooks report to `WatchedRun`. It collects steps, has their memory predicted and measured,
evaluates between them, and logs all of it. It holds the model by a weak reference only, and the
loop not at all; it never raises into the loop.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.errors import is_out_of_memory
from gpu_runner.log.commands import Commands
from gpu_runner.memory.fsdp import ShardView
from gpu_runner.memory.loop import Optimizers
from gpu_runner.memory.prediction import Prediction
from gpu_runner.train.step_position import BETWEEN
from gpu_runner.watch.autograd_graph import leads_to
from gpu_runner.watch.checks import check_after_first, check_before_first
from gpu_runner.watch.evaluation import (
    LoopAutocast,
    LoopEvaluator,
    load_suites,
    longest_example,
    without_side_effects,
)
from gpu_runner.watch.hooks import (
    SEVERAL_THREADS,
    ErrorBoundary,
    Inputs,
    LoopHooks,
    SeveralModels,
    guarded,
    has_ddp_buckets,
    join_models,
    predicts_next_token,
    rank,
    unwrap_model,
    unwrap_optimizer,
    world_size,
)
from gpu_runner.watch.memory import LoopMemory
from gpu_runner.watch.metrics import TimeBudget, Utilization, token_accuracy
from gpu_runner.watch.options import WatchOptions, describe_rows, describe_run
from gpu_runner.watch.run_log import (
    GONE,
    NEVER_CALLED,
    NOT_JOINED,
    SHARED,
    TOO_MANY_ERRORS,
    CloseAtExit,
    RunLog,
    WatchTerminal,
    create_run_directory,
    exit_status,
    format_start,
    is_interactive,
    own_metrics,
)
from gpu_runner.watch.steps import StepCollector, WatchedStep, describe_batch
from gpu_runner.world import is_cut, local
from unfrozen import undisturbed
from unfrozen.events import OTHER, RunStatus


def watch(
    model: nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    **options: Any,
) -> WatchedRun:
    """Watch the training of `model` from now on; return the run, logged to `runs/<name>`.

    model          what trains; of several that train together a list, or a dict by name
    task, general  held-out examples as `unfrozen train` reads them (dicts, or a file's path): those
                   of the task, and by name those that may be forgotten; they need `tokenizer`
    optimizer      found at its first step if it is not passed; memory is predicted after that
    steps          the number of steps, if it is known
    eval_every     steps between evaluations: a tenth of `steps`, or 100
    prompts        continued by `new_tokens` tokens at every evaluation
    measure        whether the memory of some steps is measured by component
    config         settings of the loop that the page shows
    trainer        the name of the trainer in the page
    lengths        tokens of the training examples: the run warns before the longest will not fit
    price          of an hour of one GPU, or of the machine for a CPU, in `currency`
    can            commands of the page that the loop obeys; "stop" by reading `should_stop`

    Training computes the same as without this, bit for bit. Errors in here are reported once, and
    training goes on; only arguments of a wrong type raise `TypeError`.
    """
    model = join_models(model)
    if isinstance(model, SeveralModels) and (options.get("task") or options.get("general")):
        raise TypeError("task and general are scored by one model: watch it in a run of its own.")
    given = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer or ())
    for one in given:
        if not isinstance(one, torch.optim.Optimizer):
            raise TypeError(f"optimizer is a {type(one).__name__}: pass a torch.optim.Optimizer.")
    return WatchedRun(model, Optimizers(*map(unwrap_optimizer, given)), WatchOptions(**options))


_OPEN: weakref.WeakSet[WatchedRun] = weakref.WeakSet()


def _forget_all() -> None:
    """Leave every run in a process that was forked: its loop and its log are its parent's."""
    for one in list(_OPEN):
        one._detach()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)


class WatchedRun:
    """What `watch` returns: `close` it, or use it as a context manager."""

    def __init__(self, model: nn.Module, optimizers: Optimizers, options: WatchOptions) -> None:
        self.should_stop = False
        """Whether the page asked the run to stop; a custom loop can read it."""
        self.wants_save = False
        """Whether the page asked for a checkpoint; whoever saves one resets it."""
        self._guard = ErrorBoundary(self._warn, lambda: self.close("stopped", TOO_MANY_ERRORS))
        self._log: RunLog | None = None
        self._started, self._closed = False, True
        self._set_up(model, optimizers, options)

    @guarded("nothing is watched")
    @undisturbed()
    def _set_up(self, model: nn.Module, optimizers: Optimizers, options: WatchOptions) -> None:
        if (processes := world_size()) > 1:  # if one paused, the others would go on
            options = replace(options, processes=processes, can=())
        memory = replace(options.memory, measure=options.measure, lengths=tuple(options.lengths))
        if has_ddp_buckets(model):
            memory = replace(memory, behavior=replace(memory.behavior, ddp_buckets=True))
        self._options = options = replace(options, memory=memory)
        self._model = weakref.ref(model, lambda _: self.close(*GONE))
        self._inner = weakref.ref(unwrap_model(model))
        self._optimizers = optimizers
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._autocast = LoopAutocast.read(self._device.type)
        self._save_commands = self._eval_commands = 0
        self._evaluated_at = -1
        self._several = model if isinstance(model, SeveralModels) else None
        self._waiting: torch.optim.Optimizer | None = None
        self._own_metrics: dict[str, float] = {}
        """Numbers that the loop logged since its last step."""
        self._budget = TimeBudget()
        self._utilization: Utilization | None = None
        self._collector = StepCollector(
            options.start_step,
            shifted=predicts_next_token(unwrap_model(model)),
            several=isinstance(model, SeveralModels),
        )
        self._weights: list[weakref.ref[Tensor]] = []
        self._is_cut = is_cut(model)
        self._hooks = LoopHooks(model, ShardView(model).parameters(), self, self._guard)
        own = self._guard, self._hooks.silence, self._report_prediction, self._warn
        self._memory = LoopMemory(self._inner, optimizers, self._device, options.memory, *own)
        self._measurement = self._memory.measurement
        if rank() > 0 and not self._is_cut:  # the first process logs for all
            return
        self._open_log()
        self._evaluator = LoopEvaluator(
            unwrap_model(model), self._load_suites(), options.tokenizer, self._device
        )
        self._at_exit = CloseAtExit(self)
        self._listen()

    def _listen(self) -> None:
        """Observe the loop from now on, if there is a log."""
        if self._log is None:
            return
        if is_interactive():  # the cell that watches was run again
            for one in [one for one in _OPEN if one._model() is self._model()]:
                one.close("stopped", "the model is watched by another run")
        _OPEN.add(self)
        self._closed = False
        self._hooks.install()
        atexit.register(self._at_exit)
        if self._log.place is not None:
            WatchTerminal().warn(format_start(self._log.place))

    def __enter__(self) -> WatchedRun:
        return self

    @guarded("the run could not be closed")
    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        del kind, trace
        self.close_after(error)

    @property
    def place(self) -> Path | None:
        """The directory of the run; None where none could be created."""
        return None if self._log is None else self._log.place

    @property
    def errors(self) -> int:
        """How many errors of ours were caught."""
        return self._guard.errors

    @property
    def is_idle(self) -> bool:
        """Whether no step has begun, so that another thread may go on."""
        begun = self._collector.parts and not self._collector.updated
        return not begun and not self._measurement.is_running

    def begin_forward(self, inputs: Inputs, *, compiled: bool, number: int) -> None:
        """The loop calls its model: the first call of a step ends the previous step."""
        self.end_of_step()
        if not self._started:
            self._start(inputs)
        model = self._inner()
        part = self._collector.begin_forward(
            inputs, in_training=model is not None and model.training
        )
        if number:  # of several models the first one's examples are counted
            part.trained = 0
        at = self._collector.number + 1, len(self._collector.parts)
        self._measurement.compiled = compiled
        self._memory.begin_forward(part, inputs, at, self._autocast.with_cache)

    def end_forward(self, inputs: Inputs, output: Any) -> None:
        """The model has returned its output."""
        self._collector.end_forward(output)
        if not self._measurement.is_running and self._budget.allows("accuracy"):
            with self._budget.spend("accuracy"):
                self._collector.accuracy = token_accuracy(
                    inputs, output, shifted=self._collector.shifted
                )
        self._memory.end_forward(output)

    def handle_error(self, error: BaseException) -> None:
        """An error leaves a pass, and goes on; it is reported if memory ran out."""
        earlier = {} if self._log is None else self._log.history.measured
        found = self._memory.examine(error, self._collector, earlier)
        self._collector.leave_out()
        if found is not None and self._log is not None and not self._closed:
            self._log.alert(f"Out of memory: {found.sentence}.", level="error")

    def end_backward(self) -> None:
        """A backward pass has ended, perhaps in the closure that an optimizer's step calls."""
        self._collector.doing = BETWEEN
        if self._collector.backwards:
            self._begin_waiting_update()
        self._measurement.end_if_over()

    def begin_backward(self, roots: list[Tensor], values: list[Tensor]) -> None:
        """The loop calls `backward` on these tensors."""
        if self._collector.begin_backward(roots, values, has_gradients=self._has_gradients()):
            self._memory.predictions.observe_backward()
            self._collector.losses += [value for value in values if value.numel() == 1]
            self._collector.versions = self._weight_versions()
        elif self._collector.updated or not any(one.sequences for one in self._collector.parts):
            self._begin_unseen(roots, values)

    def _begin_unseen(self, roots: list[Tensor], values: list[Tensor]) -> None:
        """A backward pass in a step in which the loop has not called the model, as it seems."""
        found = [one for root, one in zip(roots, values, strict=True) if one.numel() == 1]
        if not found or not any(leads_to(root, self._hooks.owns) for root in roots):
            return
        self.end_of_step()
        if not self._started:
            self._start({})
        self._collector.add_unseen(torch.stack([one.reshape(()) for one in found]).sum())
        self._collector.versions = self._weight_versions()

    def leave(self, code: Any) -> None:
        """The script calls `sys.exit`; if no step follows, that is how the run ends."""
        self._at_exit.leaving = SystemExit(code)

    def clip(self, norm: Tensor) -> None:
        """Gradients were clipped; the norm of sharded gradients would need a collective."""
        self._collector.norm = norm if local(norm) is norm else None

    def begin_update(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step; with a closure, before there are gradients."""
        self._waiting = optimizer
        if self._collector.backwards:
            self._begin_waiting_update()

    def _begin_waiting_update(self) -> None:
        optimizer, self._waiting = self._waiting, None
        if optimizer is None:
            return
        if not self._started:
            self._start({})
        if not self._collector.is_called:
            self._guard.warn_once(NEVER_CALLED.format(type(self._inner()).__name__))
        self._optimizers.add(optimizer)
        self._collector.doing = "optimizer_step"
        self._collector.lr = max(float(group["lr"]) for group in self._optimizers.param_groups)
        self._memory.begin_update()
        if self._collector.norm is None and self._budget.allows("norm"):
            with self._budget.spend("norm"):
                self._collector.norm = self._optimizers.gradient_norm()

    def end_update(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer has stepped; the step is over when the next one begins."""
        self._begin_waiting_update()
        self._collector.updated, self._collector.doing = True, BETWEEN
        if isinstance(model := self._inner(), SeveralModels):
            self._collector.updated = self._end_update_of(model.holders(optimizer))
        self._collector.losses = []
        self._measurement.end_update(optimizer)

    def _end_update_of(self, names: list[str]) -> bool:
        """Log the loss of some of several models; return whether all have been updated."""
        if self._collector.losses:
            loss = float(torch.stack([one.reshape(()) for one in self._collector.losses]).sum())
            self._own_metrics |= {f"{OTHER}loss/{name}": loss for name in names}
        self._collector.updated_models |= set(names)
        known = {name for one in self._optimizers.alive for name in self._holders(one)}
        return self._collector.updated_models >= known

    def _holders(self, optimizer: torch.optim.Optimizer) -> list[str]:
        model = self._inner()
        return model.holders(optimizer) if isinstance(model, SeveralModels) else []

    @guarded("a step could not be logged")
    def end_of_step(self) -> bool:
        """Log the step that has ended, evaluate and pause when due; return whether one had."""
        if self._closed or not self._started or self._log is None or not self._hooks.take_over():
            return False
        if self._collector.backwards and self._collector.versions != self._weight_versions():
            self._collector.updated = True  # by an optimizer that calls no hook, or is compiled
        if (done := self._collector.finish()) is None:
            return False
        self._at_exit.leaving = None
        self._collector.updated_models.clear()
        if self._several is not None:  # each model has a loss of its own
            for part in done.parts:
                part.loss = None
        memory, stalled = None, None
        with self._guard.around("the memory of a step is not shown"):
            memory, stalled = self._measurement.take()
        if memory is not None:
            self._memory.compare(memory.peak_bytes, done)
        self._memory.shortage.clear()
        self._budget.add_step(done.seconds)
        more = {} if stalled is None else {"opt/stalled_ratio": stalled}
        mfu = None if self._utilization is None else self._utilization.of(done)
        if memory is None and mfu is not None:
            more["perf/mfu"] = mfu
        self._log.write_step(done, memory, more)
        self._write_own_metrics()
        with self._guard.around("the first steps could not be checked"):
            self._check_first_steps(done)
        if done.number % self._options.evaluates_every == 0:
            self.evaluate()
        self._log.read_commands(self._obey)
        self._collector.restart_clock()
        return True

    @guarded("the evaluation failed")
    def evaluate(self) -> None:
        """Score the held-out sets and measure drift now."""
        log = self._log
        if log is None or self._closed or not self._started or (model := self._inner()) is None:
            return
        if self._hooks.is_shared or not self._hooks.take_over():
            self._guard.warn_once(SHARED)
            return
        log.flush()
        if self._evaluated_at == (step := log.state.step):
            return
        self._evaluated_at = step
        if not self._evaluator.all_processes_join():
            self._guard.warn_once(NOT_JOINED)
            return
        with self._hooks.silence(), without_side_effects(model):
            log.recorder.busy("evaluating", step, 600.0)
            wanted = self._options.prompts, self._options.new_tokens
            log.write_evaluation(*self._evaluator.evaluate(self._autocast, *wanted))

    @guarded("what the loop logs could not be written")
    def log(self, values: Mapping[str, Any]) -> None:
        """Show numbers of the loop's own in the page, each as a chart by its name.

        They belong to the newest step. What is not a number of one element is left out.
        """
        if self._log is None or self._closed:
            return
        found, others = own_metrics(values)
        if others:
            self._guard.warn_once(f"Not shown, because they are not numbers: {', '.join(others)}.")
        if found:
            self._own_metrics |= found
            if not self._collector.backwards:
                self._write_own_metrics()

    def _write_own_metrics(self) -> None:
        found, self._own_metrics = self._own_metrics, {}
        if found and self._log is not None and self._started:
            self._log.write_own_metrics(found)

    @guarded("the settings of the loop are not shown")
    def describe(self, config: Mapping[str, Any]) -> None:
        """Add settings of the loop for the page; to be called before its first step."""
        self._options = replace(self._options, config={**self._options.config, **config})

    @guarded("a checkpoint could not be logged")
    def saved(self, path: str) -> None:
        """Log that a checkpoint was saved at `path`."""
        if self._log is not None and not self._closed:
            self._log.write_checkpoint(path)

    @guarded("the run could not be closed")
    def close_after(self, error: BaseException | None) -> None:
        """Close the run of a loop that ended with `error`, or without one."""
        if error is not None and is_out_of_memory(error):
            with self._guard.around("an error could not be examined"):
                self.handle_error(error)
        self.close(*exit_status(error), error=error)

    @guarded("the run could not be closed")
    @undisturbed()
    def close(
        self, status: RunStatus = "finished", reason: str = "", error: BaseException | None = None
    ) -> None:
        """Remove every hook, log the last step, a last evaluation and the end.

        If memory ran out and no step came after, the end says so, with settings that would have
        fit. `error` is what ended the loop, where that is known.
        """
        if self._closed or self._log is None:
            return
        leaving = error or sys.exc_info()[1]
        if error is None and leaving is not None and is_out_of_memory(leaving):
            self.close_after(leaving)  # called in a `finally`
            return
        self.end_of_step()
        if status == "finished" and not self._memory.shortage.is_open:
            self.evaluate()
        self._detach()
        report, ratio = None, 0.0
        with self._guard.around("the memory of the run could not be summed up"):
            report = self._memory.report_end(self._autocast.with_cache, leaving)
            ratio = self._memory.ratio()
        if report is not None:
            status, reason = "oom", report.sentence
        with self._guard.around("the end could not be written"):
            self._log.write_end(status, reason, report, ratio)
        with self._guard.around("the copy of the initial weights could not be removed"):
            self._evaluator.remove_initial_weights()

    def detach(self) -> None:
        """Stop watching, which had to wait for this moment."""
        if self._closed:
            self._detach()
        else:
            self.close("stopped", SEVERAL_THREADS)

    def _detach(self) -> None:
        """Stop watching the loop."""
        self._closed, self._several = True, None
        _OPEN.discard(self)
        if self._hooks.remove(measuring=self._measurement.is_running):
            with self._guard.around("the memory of a step is not shown"):
                self._measurement.drop()
        self._weights.clear()
        if (model := self._model()) is not None:
            self._model = weakref.ref(model)  # without the callback, which is only for open runs
        atexit.unregister(self._at_exit)

    def _open_log(self) -> None:
        """Create the directory and the log; of several processes only the first writes one."""
        options, first = self._options, rank() == 0
        with self._guard.around("the run cannot be written, so nothing is watched"):
            place = create_run_directory(Path(options.runs), options.name) if first else None
            self._log = RunLog(place, self._device, options.spending(self._device))
            self._log.state.step = options.start_step

    @undisturbed()
    def _start(self, inputs: Inputs) -> None:
        """Log the start at the first forward pass, which shows what trains."""
        self._started = True
        self._is_cut = is_cut(self._inner())
        log, model, options = self._log, self._inner(), self._options
        if log is None:
            return
        self._autocast = LoopAutocast.read(self._device.type)
        with self._guard.around("the run could not be described"):
            part = describe_batch(inputs) if inputs else None
            self._evaluator.batch_size = min(8, part.sequences) if part else 8
            compute = self._autocast.dtype if self._autocast.enabled else None
            log.start(describe_run(model, self._optimizers, part, options, compute))
            self._utilization = Utilization(model, self._device, compute)
        with self._guard.around("the first batch could not be shown"):
            log.write_rows(describe_rows(inputs, options.tokenizer, options.memory.lengths))
        with self._guard.around("drift is not measured"):
            if log.place is not None and (why := self._evaluator.save_initial_weights(log.place)):
                log.alert(f"{why[0].upper()}{why[1:]}.", level="info")
        with self._guard.around("the first batch could not be checked"):
            given = model, self._optimizers, inputs, options.tokenizer
            log.alert(*check_before_first(*given))
        self.evaluate()

    def _weight_versions(self) -> int:
        """Return a number that changes whenever weights that are not sharded change in place."""
        if self._several is not None or self._is_cut:
            return 0
        return sum(one._version for one in self._alive_weights())

    def _has_gradients(self) -> bool:
        """Return whether there are gradients; True where a sharded model may still defer them."""
        if self._several is not None or self._is_cut:
            return True
        return any(one.grad is not None for one in self._alive_weights())

    def _alive_weights(self) -> list[Tensor]:
        """Return the weights, looked for in the model again where one of them was replaced."""
        found = [one for ref in self._weights if (one := ref()) is not None]
        if len(found) == len(self._weights) and found:
            return found
        model = self._inner()
        found = [] if model is None else list(model.parameters())
        self._weights = [weakref.ref(one) for one in found]
        return found

    def _check_first_steps(self, done: WatchedStep) -> None:
        """Warn of what the first step shows; predict anew where the loop behaves differently."""
        since = done.number - self._options.start_step
        if since == 1 and self._log is not None:
            self._log.alert(*check_after_first(done, self._inner(), self._optimizers))
        self._memory.observe(done, self._autocast.with_cache)

    def _report_prediction(self, found: Prediction) -> None:
        if self._log is not None:
            self._log.write_prediction(found)

    def _obey(self, orders: Commands) -> bool:
        """Do what the page asks and the loop allows; return whether it goes on regardless."""
        self.should_stop = orders.stop
        if orders.save > self._save_commands:
            self._save_commands, self.wants_save = orders.save, True
        if "evaluate" in self._options.can and orders.look > self._eval_commands:
            self._eval_commands = orders.look
            self.evaluate()
        return "pause" not in self._options.can

    def _load_suites(self) -> dict[str, EncodedDataset]:
        options, longest = self._options, longest_example(self._inner())
        with self._guard.around("the held-out examples cannot be read, so nothing is scored"):
            return load_suites(options.task, options.general, options.tokenizer, longest)
        return {}

    def _warn(self, text: str) -> None:
        """Log a warning, or print it where there is no log."""
        if self._log is not None and self._started and not self._closed:
            self._log.alert(text)
        else:
            WatchTerminal().warn(text)

"""One training loop that is somebody else's, followed from `watch` to `close`.

`WatchedRun` is told by the hooks (`taps`) where the loop is. It gathers steps (`steps`), has their
memory followed (`memory`), evaluates between them (`looking`) and has it all written down
(`telling`). It holds the model by a weak reference only, and the loop not at all; nothing of it
ever raises into the loop.
"""

from __future__ import annotations

import atexit
import sys
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_runner.data.dataset import RowSet
from gpu_runner.errors import is_out_of_memory
from gpu_runner.log.mailbox import Orders
from gpu_runner.plan.predict import Prediction
from gpu_runner.train.step_position import BETWEEN
from gpu_runner.watch.boundary import ErrorBoundary
from gpu_runner.watch.looking import AutocastSeen, Looker, longest_row, suites, unfelt
from gpu_runner.watch.memory.holding import Holding
from gpu_runner.watch.memory.in_parts import Owned
from gpu_runner.watch.memory.metering import States
from gpu_runner.watch.spending import Budget, Utilisation
from gpu_runner.watch.steps import StepCollector, WatchedStep, micro_batch, right_share
from gpu_runner.watch.taps import Inputs, Taps, alone, rank
from gpu_runner.watch.told import findings
from gpu_runner.watch.told.described import Wishes, payload
from gpu_runner.watch.told.telling import Teller
from gpu_runner.watch.told.voice import ALONE, GONE, Closing, Voice, begins, end_of, new_place
from gpu_runner.world import is_cut, local
from unfrozen.events import RunStatus


class WatchedRun:
    """What `watch` returns: `close` it, or use it as a context manager."""

    def __init__(self, model: nn.Module, states: States, wishes: Wishes) -> None:
        self.should_stop = False
        """Whether the page asked it to stop: a loop of one's own may look at it."""
        self.wants_save = False
        """Whether the page asked for a checkpoint; whoever saves sets it back."""
        self._wishes = wishes
        self._model = weakref.ref(model, lambda _: self.close(*GONE))
        self._alone = weakref.ref(alone(model))
        self._states = states
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._autocast = AutocastSeen.now(self._device.type)
        self._begun = self._closed = False
        self._saved = self._looked = 0
        self._evaluated_at = -1
        self._spending = Budget()
        self._use: Utilisation | None = None
        self._collector = StepCollector(wishes.start_step)
        self._teller: Teller | None = None
        self._guard = ErrorBoundary(self._complain, self._let_go)
        self._taps = Taps(model, Owned(model).parameters(), self, self._guard)
        told = self._guard, self._taps.silence, self._predicted, self._complain
        self._memory = Holding(self._alone, states, self._device, wishes.memory, *told)
        self._measuring = self._memory.measuring
        if rank() > 0 and not is_cut(model):  # the first process tells of all
            self._closed = True
            return
        with self._guard.around("the run cannot be written, so nothing is watched"):
            place = new_place(Path(wishes.runs), wishes.name) if rank() == 0 else None
            self._teller = Teller(place, self._device, wishes.spending(self._device))
            self._teller.state.step = wishes.start_step
        self._looker = Looker(alone(model), self._sets(), wishes.tokenizer, self._device)
        self._at_exit = Closing(self)
        if self._teller is None:
            self._closed = True
            return
        self._taps.install()
        atexit.register(self._at_exit)
        if place is not None:
            Voice().warn(begins(place))

    def __enter__(self) -> WatchedRun:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        del kind, trace
        self.left_by(error)

    @property
    def place(self) -> Path | None:
        """The folder of the run; None where none could be made."""
        return None if self._teller is None else self._teller.place

    @property
    def errors(self) -> int:
        """How often something of ours went wrong."""
        return self._guard.errors

    def forward_begins(self, inputs: Inputs) -> None:
        """The loop calls its model: the first call of a step ends the step before."""
        self.end_of_step()
        if not self._begun:
            self._begin(inputs)
        part = self._collector.begin(inputs)
        at = self._collector.number + 1, len(self._collector.parts)
        self._memory.forward_begins(part, inputs, at, self._autocast.again)

    def forward_ended(self, inputs: Inputs, output: Any) -> None:
        """The model has answered."""
        self._collector.output(inputs, output)
        if not self._measuring.running and self._spending.allows("accuracy"):
            with self._spending.on("accuracy"):
                self._collector.right = right_share(inputs, output)
        self._memory.forward_ended(output)

    def raised(self, error: BaseException) -> None:
        """A pass was left by an error: where it was is told if memory ran out; it goes on."""
        earlier = {} if self._teller is None else self._teller.history.measured
        found = self._memory.raised(error, self._collector, earlier)
        self._collector.leave_out()
        if found is not None and self._teller is not None and not self._closed:
            self._teller.alert(f"Out of memory: {found.sentence}.", level="error")

    def went_back(self) -> None:
        """A backward pass has ended."""
        self._collector.doing = BETWEEN

    def backward_began(self) -> None:
        """The answer is one that trains."""
        self._collector.went_back()
        self._memory.went_back()

    def went_back_from(self, losses: list[Tensor]) -> None:
        """The loss, where the model returned none."""
        self._collector.went_back_from(losses)

    def clipped(self, norm: Tensor) -> None:
        """The norm of all gradients; where it lies in parts the others would have to be asked."""
        self._collector.norm = norm if local(norm) is norm else None

    def update_begins(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer is about to step."""
        self._states.add(optimizer)
        self._collector.doing = "optimizer_step"
        self._collector.lr = max(float(group["lr"]) for group in self._states.param_groups)
        self._memory.update_begins()
        if self._collector.norm is None and self._spending.allows("norm"):
            with self._spending.on("norm"):
                self._collector.norm = self._states.gradient_norm()

    def update_ended(self, optimizer: torch.optim.Optimizer) -> None:
        """It has; the step is over when the next one begins, or somebody says so."""
        self._collector.updated, self._collector.doing = True, BETWEEN
        self._measuring.update_ended(optimizer)

    def end_of_step(self) -> bool:
        """Tell the step that has ended, if one has; then evaluate and pause where it is time."""
        if self._closed or not self._begun or self._teller is None:
            return False
        if (done := self._collector.finish()) is None:
            return False
        memory, stalled = self._measuring.take()
        self._memory.step_over()
        self._spending.step(done.seconds)
        more = {} if stalled is None else {"opt/stalled_ratio": stalled}
        if memory is None and self._use is not None and (use := self._use.of(done)) is not None:
            more["perf/mfu"] = use
        self._teller.step(done, memory, more)
        with self._guard.around("the first steps could not be looked at"):
            self._look_at_first(done)
        if done.number % self._wishes.looks_every == 0:
            self.evaluate()
        self._teller.hear(self._obey)
        self._collector.restart_clock()
        return True

    def evaluate(self) -> None:
        """Score the held-out sets now, and how far the weights are from where they began."""
        teller, model = self._teller, self._alone()
        if teller is None or model is None or self._closed or not self._begun:
            return
        teller.flush()
        if self._evaluated_at == (step := teller.state.step):
            return
        self._evaluated_at = step
        if not self._looker.meets():
            self._guard.say_once(ALONE)
            return
        with self._guard.around("the evaluation failed"), self._taps.silence(), unfelt(model):
            teller.recorder.busy("evaluating", step, 600.0)
            asked = self._wishes.prompts, self._wishes.new_tokens
            teller.evaluated(*self._looker.look(self._autocast, *asked))

    def describe(self, config: Mapping[str, Any]) -> None:
        """Choices of the loop for the page, before its first step."""
        self._wishes = replace(self._wishes, config={**self._wishes.config, **config})

    def saved(self, path: str) -> None:
        """Somebody has written a checkpoint there."""
        with self._guard.around("a checkpoint could not be told"):
            if self._teller is not None and not self._closed:
                self._teller.saved(path)

    def left_by(self, error: BaseException | None) -> None:
        """The loop is over, by an error or without one: close the run, and say which."""
        if error is not None and is_out_of_memory(error):
            with self._guard.around("an error could not be looked at"):
                self.raised(error)
        self.close(*end_of(error), error=error)

    def close(
        self, status: RunStatus = "finished", reason: str = "", error: BaseException | None = None
    ) -> None:
        """Remove every hook, write the last step, what it came to, and the end.

        Where memory ran out and no step came after it, that is the end, with what would have
        fitted. `error` is what left the loop, where that is known.
        """
        if self._closed or self._teller is None or self._taps.forked:
            return
        leaving = error or sys.exc_info()[1]
        if error is None and leaving is not None and is_out_of_memory(leaving):
            self.left_by(leaving)  # called in a `finally`
            return
        with self._guard.around("the last step could not be told"):
            self.end_of_step()
            if status == "finished" and not self._memory.is_short:
                self.evaluate()
        self._let_go()
        if (found := self._memory.post_mortem(self._autocast.again, leaving)) is not None:
            status, reason = "oom", found.sentence
        with self._guard.around("the end could not be written"):
            self._teller.end(status, reason, found)
        with self._guard.around("the copy of the first weights could not be removed"):
            self._looker.forget()

    def _let_go(self) -> None:
        """From now on the loop is alone."""
        self._closed = True
        self._measuring.drop()
        self._taps.remove()
        atexit.unregister(self._at_exit)

    def _begin(self, inputs: Inputs) -> None:
        """The first forward pass: now it is known what trains."""
        self._begun = True
        teller, model, wishes = self._teller, self._alone(), self._wishes
        if teller is None:
            return
        self._autocast = AutocastSeen.now(self._device.type)
        with self._guard.around("the run could not be described"):
            part = micro_batch(inputs)
            self._looker.rows_at_once = min(8, max(1, part.rows))
            compute = self._autocast.dtype if self._autocast.enabled else None
            teller.start(payload(model, self._states, part, wishes, compute))
            self._use = Utilisation(model, self._device, compute)
        with self._guard.around("drift is not measured"):
            if teller.place is not None and (why := self._looker.keep_start(teller.place)):
                teller.alert(f"{why[0].upper()}{why[1:]}.", level="info")
        with self._guard.around("the first batch could not be looked at"):
            teller.alert(*findings.at_first(model, self._states, inputs, wishes.tokenizer))
        self.evaluate()

    def _look_at_first(self, done: WatchedStep) -> None:
        """What the first two steps show that could not be known before."""
        since = done.number - self._wishes.start_step
        if since == 1 and self._teller is not None:
            self._teller.alert(*findings.after_first(done, self._alone(), self._states))
        self._memory.look_at(done, self._autocast.again)

    def _predicted(self, found: Prediction) -> None:
        if self._teller is not None:
            self._teller.predict(found)

    def _obey(self, orders: Orders) -> bool:
        """Do what the page asks and the loop allows; whether it goes on whatever was asked."""
        self.should_stop = orders.stop
        if orders.save > self._saved:
            self._saved, self.wants_save = orders.save, True
        if "evaluate" in self._wishes.can and orders.look > self._looked:
            self._looked = orders.look
            self.evaluate()
        return "pause" not in self._wishes.can

    def _sets(self) -> dict[str, RowSet]:
        wishes, model = self._wishes, self._alone()
        with self._guard.around("the held-out rows cannot be read, so nothing is scored"):
            return suites(wishes.task, wishes.general, wishes.tokenizer, longest_row(model))
        return {}

    def _complain(self, text: str) -> None:
        """Something that a person should know, in the log where there is one."""
        if self._teller is not None and self._begun and not self._closed:
            self._teller.alert(text)
        else:
            Voice().warn(text)

"""Memory ran out in a loop that is somebody else's: what is known of it, for `gpu_runner.oom`.

An error that comes out of the forward or backward pass is looked at on its way, while what it found
too much still lives; nothing of it is kept but numbers, and it goes on as it came. A loop may catch
it and go on with fewer rows: then it was told, and is over with the next step. Otherwise it is how
the run ended, and what would have fitted is found out at its end.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import torch

from gpu_runner.oom.bound import budget, held_on, others_on, room
from gpu_runner.oom.report import PostMortem, post_mortem
from gpu_runner.oom.scene import BatchSize, Scene, Sizes
from gpu_runner.oom.thrown import Thrown
from gpu_runner.train.measure import Components, known_bytes
from gpu_runner.watch.memory.forecasts import Forecasts, aside
from gpu_runner.watch.memory.foretelling import Autocast
from gpu_runner.watch.memory.in_parts import Owned
from gpu_runner.watch.memory.metering import Seen, States
from gpu_runner.watch.memory.settings import Words, scaled, settings_for
from gpu_runner.watch.steps import StepCollector

SHARE: Final = 0.9
"""Of the room that a setting may fill, as `unfrozen train` has it for its own."""
_TEXT: Final = 4096  # characters of a message


class Shortage:
    """The last time that memory ran out; see `note` and `found`."""

    def __init__(
        self,
        model: Callable[[], Any],
        states: States,
        device: torch.device,
        forecasts: Forecasts,
        words: Words,
    ) -> None:
        self._model, self._states, self._device = model, states, device
        self._forecasts, self._words = forecasts, words
        self._text = ""
        self._scene: Scene | None = None
        self._error = 0

    def note(
        self,
        error: BaseException,
        at: StepCollector,
        seen: Seen,
        earlier: Mapping[str, Sizes],
    ) -> PostMortem | None:
        """Look at `error`, where the loop is and what lives; None for one that was noted before.

        earlier   instant → components, as they were measured so far
        """
        if self._scene is not None and id(error) == self._error:
            return None
        text = str(error)[:_TEXT] or type(error).__name__
        thrown = Thrown.of(error)
        self._error, self._text = id(error), text
        self._scene = self._looked(thrown, at, seen, earlier)
        return post_mortem(RuntimeError(text), self._scene)

    @property
    def is_open(self) -> bool:
        """Whether memory ran out and no step has ended since."""
        return self._scene is not None

    def over(self) -> None:
        """A step has ended since: the loop found a way."""
        self._scene = None

    def found(self, autocast: Autocast, error: BaseException | None = None) -> PostMortem | None:
        """What was noted last, with what would have fitted; None where nothing was.

        That needs some memory itself. Where there is none the frames of `error` are emptied, which
        nothing but a debugger would look into, and it is tried again.
        """
        if self._scene is None:
            return None
        settings = self._settings(autocast)
        if not settings and error is not None:
            traceback.clear_frames(error.__traceback__)
            settings = self._settings(autocast)
        return post_mortem(RuntimeError(self._text), replace(self._scene, settings=settings))

    def _settings(self, autocast: Autocast) -> tuple[Any, ...]:
        scene, newest = self._scene, self._forecasts.newest
        step = self._forecasts.step(autocast)
        if scene is None or step is None or newest is None or not scene.budget_bytes:
            return ()
        predicted = sum(scene.predicted.get(scene.instant, {}).values())
        measured = sum(scene.measured.get(scene.instant, {}).values())
        share = min(1.0, predicted / measured) if predicted and measured else 1.0
        most = round(share * scene.budget_bytes)
        return aside(lambda: settings_for(step, newest.instants, most, self._words))

    def _looked(
        self, thrown: Thrown, at: StepCollector, seen: Seen, earlier: Mapping[str, Sizes]
    ) -> Scene:
        card = self._device.type == "cuda"
        held = held_on(self._device)
        living = seen.now or self._living(thrown, card=card)
        part = at.parts[-1] if at.parts else None
        newest = self._forecasts.newest
        predicted = {} if newest is None else newest.instants
        if part is not None and predicted:
            predicted = scaled(predicted, self._forecasts.share_of(part))
        measured = {**earlier, **seen.instants}
        now = seen.instant
        if living and (seen.now or card):
            now = now or ("optimizer_step" if at.doing == "optimizer_step" else "end_of_forward")
            measured[now] = living
        peak = max((sum(sizes.values()) for sizes in predicted.values()), default=0)
        most = room(held, living, card=card)
        return Scene(
            doing=at.doing,
            step=at.number + 1 if part is not None else at.number,
            micro_batch=len(at.parts),
            micro_batches=max(len(at.parts), self._forecasts.micro_batches),
            batch=None if part is None else BatchSize(*part.shape, int(part.trained)),
            predicted=predicted,
            measured=measured,
            now=now if part is not None else "",
            growing=seen.growing,
            lumped=card,
            held=held,
            others=others_on(thrown, self._device),
            budget_bytes=budget(most, living, thrown.asked_bytes, peak, SHARE, card=card),
        )

    def _living(self, thrown: Thrown, *, card: bool) -> Components:
        """Where no tracker follows the step: weights and their states, on a card all the rest."""
        known = known_bytes(Owned(self._model()), self._states)  # type: ignore[arg-type]
        if card:
            allocated = thrown.allocated_bytes or torch.cuda.memory_allocated(self._device)
            known["activations"] = max(0, allocated - sum(known.values()))
        return known

"""When it is time to stop early, and that a checkpoint is written once a step."""

from pathlib import Path
from typing import Any

import pytest

from gpu_runner.atomic import Saved
from gpu_runner.checkpoint.training_state import History
from gpu_runner.run.observer import EarlyStop, RunObserver
from gpu_runner.train.loop import State


class Shelf:
    """Recorder and checkpointer: keeps the steps it is given, writes down what it is reported."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def save(self, state: State) -> Saved:
        self.told.append(f"save {state.step}")
        return Saved(Path(f"step-{state.step}"), 1, "")

    pending = writing = False

    def settled(self) -> None:
        return None

    def prune(self, newest: Saved) -> None:
        self.told.append(f"prune for {newest.path}")

    def saving(self, step: int) -> None:
        self.told.append(f"saving {step}")

    def saved(self, state: State, saved: Saved) -> None:
        self.told.append(f"saved {saved.path} of {state.step}")

    def resting(self) -> None:
        pass


class Looks:
    """A validation whose every look is the best so far, or none is."""

    def __init__(self, *, best: bool) -> None:
        self.best = best
        self.looked: list[int] = []

    def run(self, state: State, *, counts: bool = True) -> bool:
        assert counts
        self.looked.append(state.step)
        return self.best


def observer(shelf: Any, looks: Any, patience: int | None) -> RunObserver:
    return RunObserver(shelf, looks, EarlyStop(patience, History()), shelf)


def test_a_checkpoint_is_overdue_once_a_stop_would_lose_more_than_it_may() -> None:
    now, shelf = [4000.0], Shelf()
    stop = EarlyStop(None, History())
    kept = RunObserver(shelf, Looks(best=False), stop, shelf, None, 900.0, lambda: now[0])

    def overdue(step: int, seconds: float) -> bool:
        now[0] = seconds
        return kept.is_overdue(State(step=step))

    assert not overdue(0, 9000.0)  # the model was loaded, and no step begun
    kept.step_begins(1)
    assert [overdue(0, 9950.0), overdue(1, 9899.0), overdue(1, 9900.0)] == [False, False, True]
    kept.keep(State(step=1))
    kept.step_begins(2)
    assert [overdue(1, 99_999.0), overdue(2, 10_799.0), overdue(2, 10_800.0)] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("patience", "looks", "reached"), [(None, 99, False), (3, 2, False), (3, 3, True), (3, 4, True)]
)
def test_it_is_time_when_patience_is_at_its_end(
    patience: int | None, looks: int, reached: bool
) -> None:
    assert EarlyStop(patience, History(looks_since_best=looks)).reached is reached


@pytest.mark.parametrize(
    ("best", "patience", "kept"), [(True, 3, True), (True, None, False), (False, 3, False)]
)
def test_the_best_model_is_kept_where_a_run_may_go_back_to_it(
    best: bool, patience: int | None, kept: bool
) -> None:
    shelf = Shelf()
    observer(shelf, Looks(best=best), patience).look(State(step=4))
    assert shelf.told == (["saving 4", "save 4", "saved step-4 of 4", "prune for step-4"] * kept)


def test_a_step_is_kept_once() -> None:
    shelf = Shelf()
    watching = observer(shelf, Looks(best=True), 3)
    for step in (4, 4, 5):
        watching.look(State(step=step))
        watching.keep(State(step=step))
    assert [told for told in shelf.told if told.startswith("save ")] == ["save 4", "save 5"]
    assert watching.kept_step == 5


def test_the_step_that_compiles_is_announced_and_no_other() -> None:
    class Told(Shelf):
        def alert(self, level: str, text: str, step: int) -> None:
            self.told.append(f"{level} {step}: {text}")

        def busy(self, what: str, step: int, seconds: float) -> None:
            self.told.append(f"{what} {step}, at most {seconds:.0f} s")

    told = Told()
    watching = observer(told, Looks(best=False), None)
    watching.step_begins(1)
    watching.compiles_at = 3
    for number in range(1, 6):
        watching.step_begins(number)
    assert told.told == [
        "info 2: Step 3 compiles the model's blocks first, and takes that much longer.",
        "compiling 2, at most 900 s",
    ]


def test_why_it_is_over_names_the_step_that_is_gone_back_to() -> None:
    history = History(looks_since_best=3, best_step=7, best_loss=1.25)
    assert EarlyStop(3, history).reason() == (
        "the task loss has not fallen for 3 evaluations: the model is that of step 7, loss 1.2500"
        " nats"
    )

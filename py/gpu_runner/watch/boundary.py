"""What is ours runs inside a training loop that is not: whatever goes wrong here stays here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

MOST_ERRORS: Final = 20
"""After so many the loop is left alone."""


class ErrorBoundary:
    """Catches our errors, counts them, tells of each kind once.

    `tell` takes a sentence; `give_up` is called once, when there were MOST_ERRORS of them.
    """

    def __init__(self, tell: Callable[[str], None], give_up: Callable[[], None]) -> None:
        self.errors = 0
        self._tell = tell
        self._give_up = give_up
        self._said: set[str] = set()

    @contextmanager
    def around(self, what: str) -> Iterator[None]:
        """Our work inside, named `what` ("the loss could not be read") should it fail."""
        try:
            yield
        except Exception as error:  # whatever it is, training goes on
            self._failed(what, error)

    def hook(self, what: str, function: Callable[..., None]) -> Hook:
        """A hook that never raises and changes nothing: it returns None."""
        return Hook(self, what, function)

    def say_once(self, text: str) -> None:
        """Tell something that is no error of ours, the first time only."""
        if text not in self._said:
            self._said.add(text)
            self._tell(text)

    def _failed(self, what: str, error: Exception) -> None:
        self.errors += 1
        reason = (str(error).splitlines() or [""])[0]
        text = f"{what} ({type(error).__name__}: {reason}). Training goes on."
        if what not in self._said:
            self._said.add(what)
            self._tell(text)
        if self.errors == MOST_ERRORS:
            self._tell(f"{self.errors} such errors: nothing more is watched. Training goes on.")
            self._give_up()


class Hook:
    """A guarded function as PyTorch calls it. A copy of a model that has it does nothing there."""

    def __init__(self, guard: ErrorBoundary, what: str, function: Callable[..., None]) -> None:
        self._guard = guard
        self._what = what
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        """Call the function; whatever it raises, training goes on."""
        with self._guard.around(self._what):
            self._function(*arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        del memo
        return _nothing


def _nothing(*_: Any) -> None:
    """The hook of a copy."""

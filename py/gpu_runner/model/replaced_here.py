"""A function of another library, replaced in some threads while the others call the original."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.Lock()


class ThreadReplacement:
    """The function `name` of `owner`, and how often each thread is within `replaced`."""

    def __init__(self, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        self._owner, self._name, self._replacement = owner, name, replacement
        self._inside: list[int] = []
        self._original: Any = None

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Replace the function in this thread; the last thread to leave restores it."""
        own = threading.get_ident()
        with _LOCK:
            if not self._inside:
                self._original = getattr(self._owner, self._name)
                setattr(self._owner, self._name, self._call)
            self._inside.append(own)
        try:
            yield
        finally:
            with _LOCK:
                self._inside.remove(own)
                if not self._inside:
                    setattr(self._owner, self._name, self._original)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        inside = threading.get_ident() in self._inside
        return (self._replacement if inside else self._original)(*args, **kwargs)

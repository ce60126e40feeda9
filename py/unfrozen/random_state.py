"""Random numbers of whoever calls us, as if we had drawn none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the random numbers of Python, numpy and PyTorch after a block or a function.

    Importing a library may draw from them (rich does), and so may a model that is evaluated. Only
    generators of modules that are loaded already can have been seeded.
    """
    python, numpy, torch = (sys.modules.get(name) for name in ("random", "numpy.random", "torch"))
    states = (
        python and python.getstate(),
        numpy and numpy.get_state(),
        torch and torch.get_rng_state(),
    )
    cuda = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        if python:
            python.setstate(states[0])
        if numpy:
            numpy.set_state(states[1])
        if torch:
            torch.set_rng_state(states[2])
        if torch and cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

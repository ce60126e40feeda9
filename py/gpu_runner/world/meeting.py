"""Whether every process comes to the same point, asked without a collective.

A collective that one process does not come to stands still until its watchdog ends the run. What
only some processes may do – those that somebody watches – is agreed on first, by keys in the store
that PyTorch's groups were made with: who waits in vain says no, and the first answer is everyone's.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any, Final

import torch.distributed as dist

SECONDS: Final = 20.0
"""How long one waits for the others."""
_YES, _NO = "yes", "no"
_numbers = count()


class Meeting:
    """One series of points that processes may come to together.

    Processes that make as many of these have the same ones; each call of `all_come` is a point.
    """

    def __init__(self) -> None:
        groups: Any = dist.distributed_c10d
        name = f"unfrozen/meeting/{next(_numbers)}"
        self._store = groups.PrefixStore(name, groups._get_default_store())
        self._points = count()
        self._over = False

    def all_come(self, seconds: float = SECONDS) -> bool:
        """Come to the next point: whether all do, the same on each. After a no it is always no."""
        if self._over:
            return False
        point = next(self._points)
        self._store.set(f"{point}/{dist.get_rank()}", "")
        everyone = [f"{point}/{rank}" for rank in range(dist.get_world_size())]
        try:
            self._store.wait(everyone, timedelta(seconds=seconds))
            answer = _YES
        except RuntimeError:  # DistStoreError: the time is over, or the store is gone
            answer = _NO
        said = self._store.compare_set(f"{point}/answer", "", answer).decode()
        self._over = said != _YES
        return not self._over

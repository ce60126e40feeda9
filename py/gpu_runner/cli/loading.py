"""The heavy libraries of a run, loaded once and settled before anything prints."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gpu_runner.errors import NotReady
from gpu_runner.installed import pip_install, wait_for_training_setup

if TYPE_CHECKING:
    from rich.console import Console


def console_with_libraries() -> Console:
    """The terminal, once the libraries behind a run are loaded and settled.

    They read their environment when they are loaded; what the user has set there stays. Our
    progress line is the only one. Threads of PyTorch that wait for each other sleep instead of
    spinning: on a machine that is busy with something else too, a small step on two cores took 3 s
    spinning and 0.1 s sleeping; on an idle one the difference is within the noise.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported: hence before it
    wait_for_training_setup()
    if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
        raise NotReady(f"this needs {' and '.join(missing)}, not installed here: {pip_install()}")
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)  # of what torchao brings for other machines
    with _uncollected():
        import transformers.modeling_utils
        from rich.console import Console

    transformers.utils.logging.set_verbosity_error()
    return Console(highlight=False)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage while PyTorch is imported: a million objects are made, and all stay.

    The search took a sixth of the time; afterwards it leaves them alone. Where PyTorch is there
    already, nothing is changed.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

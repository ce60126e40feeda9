"""The shipped demo as the lab reads it, from disk."""

from functools import cache

from gpu_runner import demo
from unfrozen.lab.demo import FILES, Demo

ROOT = demo.card().parent


@cache
def files() -> dict[str, bytes]:
    """The bytes of every file of the demo."""
    return {name: (ROOT / name).read_bytes() for name in FILES}


@cache
def loaded() -> Demo:
    """The demo model and its rows; nothing may change its arrays."""
    return Demo.read(files())

"""What cells have instead of a browser, a terminal and a network: `js`, `input`, `help`, `exit`.

A cell publishes its table and plots through `js`: `js.window.py_table_data = json.dumps(…)`. The
assignment is validated at once, so a wrong value raises in the reader's own line and nothing
reaches the page.
"""

from __future__ import annotations

import contextlib
import io
import pydoc
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from pycell.errors import NO_NETWORK
from unfrozen.publish import parse_plots, parse_table

PARSERS: dict[str, Callable[[object], object]] = {
    "py_table_data": parse_table,
    "py_plot_data": parse_plots,
}


class Window:
    """Stands for the browser's `window`: two of its names are published, others only stored."""

    def __init__(self, on_publish: Callable[[str, str], None]) -> None:
        """Call `on_publish(name, json_text)` after each valid assignment to a published name."""
        object.__setattr__(self, "_on_publish", on_publish)

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a published name before it is stored; raises PublishError, storing nothing."""
        parse = PARSERS.get(name)
        if parse is not None:
            parse(value)
            value = str.__str__(value)  # a subclass of str could change its text later
        object.__setattr__(self, name, value)
        if parse is not None:
            self._on_publish(name, value)

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError with what can be set; called for a name that was not stored."""
        if name in PARSERS:
            raise AttributeError(
                f"window.{name} has not been set yet: assign JSON text to it first"
            )
        raise AttributeError(
            f"window.{name} does not exist: a cell runs in a worker without access to the page and "
            f"can only set {' and '.join(f'window.{known}' for known in PARSERS)}"
        )


def make_js_module(on_publish: Callable[[str, str], None]) -> ModuleType:
    """Return the module to be put into `sys.modules["js"]`; its only public name is `window`.

    `on_publish` gets "py_table_data" or "py_plot_data" and the JSON text exactly as assigned.
    """
    module = ModuleType("js", "What a cell can reach of the page: `window`, to publish through.")
    module.__dict__["window"] = Window(on_publish)
    return module


def refuse_input(_prompt: object = "", /) -> NoReturn:
    """Raise RuntimeError with what to do, where `input` would fail as an I/O error."""
    raise RuntimeError("input() does not work here: assign the value in the cell and run it again")


NO_SHELL = "Cells have no shell and no other programs: do it in Python"
NO_STDIN = "sys.stdin has nothing to read here: assign the text in the cell and run it again"


class NoInput(io.TextIOBase):
    """Stands for `sys.stdin`, and for its bytes: every way to read raises RuntimeError."""

    def read(self, _size: int | None = -1, /) -> NoReturn:
        """Raise RuntimeError with what to do, where the terminal's stream has an I/O error."""
        raise RuntimeError(NO_STDIN)

    readline = readlines = __next__ = read

    @property
    def buffer(self) -> NoInput:
        """Return itself: bytes are refused as text is."""
        return self


CONNECTING = frozenset(
    f"socket.{name}"
    for name in (
        *("bind", "connect", "getaddrinfo", "gethostbyaddr", "gethostbyname", "getnameinfo"),
        *("sendmsg", "sendto"),
    )
)
"""Audit events of every connection that Python opens, whichever module asks for it."""


def refuse_connection(*_request: object, **_options: object) -> NoReturn:
    """Raise OSError with what to do, in the place of a function that fetches."""
    raise OSError(NO_NETWORK)


def refuse_audited(event: str, arguments: tuple[object, ...]) -> None:
    """Raise OSError for an audit event of the network, before an address is invented for a name.

    Raises OSError for `os.system` too, which would return −1 without a word, and RuntimeError for
    `open(0)` and the terminal of `getpass`, which are standard input by other names.
    """
    if event in CONNECTING:
        raise OSError(NO_NETWORK)
    if event == "os.system":
        raise OSError(NO_SHELL)
    if event == "open" and type(arguments[0]) in (int, str) and arguments[0] in (0, "/dev/tty"):
        raise RuntimeError(NO_STDIN)


def refuse_descriptor(read: Callable[..., bytes]) -> Callable[..., bytes]:
    """Return `os.read` but for standard input, of which a browser would make a prompt."""

    def read_file(descriptor: int, length: int, /) -> bytes:
        """Read at most `length` bytes, as `os.read`; raises RuntimeError for descriptor 0."""
        if descriptor == 0:
            raise RuntimeError(NO_STDIN)
        return read(descriptor, length)

    read_file.__name__ = "read"
    return read_file


def raise_system_exit(code: object = None, /) -> NoReturn:
    """End the run as `sys.exit` does; `exit` would close a stream that the next cell needs."""
    raise SystemExit if code is None else SystemExit(code)


class Help:
    """Prints documentation: `help(…)` of an object, `help` alone how to use it."""

    def __repr__(self) -> str:
        """Return what a cell with `help` alone shows."""
        return "Write help(len), or help('topics') for a list of topics."

    def __call__(self, *request: Any) -> None:
        """Print the documentation of an object, or of the name or topic in a string."""
        if not request:
            print(repr(self))
            return
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            pydoc.Helper(io.StringIO(), text).help(*request)
        print(pydoc.plain(text.getvalue()).rstrip())

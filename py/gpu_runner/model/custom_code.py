"""Code that a model brings along: not run, and not asked about, unless that was asked for.

A model's folder can name Python files of its own (`auto_map`), which the library would load after a
question at the terminal. Nothing is asked here: every call of the library says no, and yes only
where the person who starts the run gave the flag. Where the library has the architecture itself and
our count of it is exact, that one is trained, which is told; all else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gpu_runner.errors import ModelLoadError

KEY: Final = "auto_map"
FLAG: Final = "--trust-remote-code"
_ASKS: Final = ("custom code which must be executed", "trust_remote_code")
"""Parts of what the library says where it would have asked."""


def refuse(name: str, file: str, settings: Mapping[str, Any], *, native: bool = False) -> None:
    """Raise `ModelLoadError` if `settings`, as `file` holds them, name code of the model's own.

    `native`: the library has this architecture, and it is the one that is counted.
    """
    if settings.get(KEY) and not native:
        raise refusal(name, f"{file} names {_named(settings[KEY])}")


def refusal(name: str, found: str) -> ModelLoadError:
    """What is said of a model that cannot be loaded without its own code."""
    return ModelLoadError(
        f"model {name!r} brings code of its own ({found}), which is not run. Give a model that the"
        f" library knows, or read that code, and give {FLAG} if you trust it."
    )


def is_asked_for(reason: str) -> bool:
    """Whether the library refuses because it may not run a model's own code."""
    return any(part in reason for part in _ASKS)


def remark(name: str, settings: Mapping[str, Any]) -> str:
    """What is said of a model that is trained without its own code; "" where it has none."""
    if not settings.get(KEY):
        return ""
    return (
        f"{name} brings code of its own ({_named(settings[KEY])}), which is not run: what is"
        f" trained is the library's own {settings.get('model_type')}."
    )


def forget(config: Any) -> None:
    """Leave the names out of what is saved: the trained model has no such files beside it."""
    vars(config).pop(KEY, None)


def _named(mapped: object) -> str:
    """The files or classes under `auto_map`, a few of them."""
    found = list(mapped.values()) if isinstance(mapped, Mapping) else [mapped]
    flat = [str(one)[:60] for each in found for one in (each if isinstance(each, list) else [each])]
    names = list(dict.fromkeys(one for one in flat if one != "None"))
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")

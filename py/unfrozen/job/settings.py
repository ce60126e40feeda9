"""Settings of a job: type, default, bounds, label and help.

The table itself is the fields of `Recipe`, `Lora` and `Cluster`. Each is declared by one call of
`choice`, `flag`, `whole_number`, `probability` or `listing`, and everything else is derived from
it: what a job may have and how it is refused (`check_setting`), the planner's controls, and their
addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Final, Literal, cast

from unfrozen.errors import PlanError
from unfrozen.job.unplanned import instead_of

LOW_BITS: Final = ("fp8", "mxfp8", "nvfp4", "int8")
"""Dtypes of matmuls alone: they cast 16-bit tensors as they read them and return 16 bits, as
torchao does it: float8 (torchao/float8/float8_linear.py), mxfp8 and nvfp4 (torchao/prototype) and
int8 (torchao/prototype/quantized_training/int8_mixed_precision.py)."""
BYTES: Final[dict[str, int]] = {"fp32": 4, "bf16": 2, "fp16": 2} | dict.fromkeys(LOW_BITS, 2)
"""Bytes of one number in each dtype; low-bit matmuls read and save 16-bit tensors."""
DTYPES: Final = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
GROUPS: Final = (
    *("Method", "Precision", "Optimizer", "Batch", "Activations", "Loss", "Experts"),
    *("Data parallelism", "Model parallelism", "Offload", "Run"),
)
"""Headings under which the settings stand, in their order."""

Kind = Literal["choice", "flag", "whole", "real", "names", "counts", "capacity"]
Applies = Callable[[Any], bool]
"""Whether a setting does anything, asked of a `Job`."""


def _always(job: Any) -> bool:
    return job is not None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a job.

    label      a noun phrase
    help       one sentence that stands alone, with the names frameworks have for it
    group      its heading, one of `GROUPS`; empty for those with a slider of their own
    kind       what its values are: one of `choices`, true or false, a whole or a real number from
               `least` to `most`, a list of names or of counts, or an expert capacity factor
    choices    what a reader sees of each value, by the value as text: "null" for None
    optional   whether it may be None without offering that: other settings then decide
    applies    whether it does anything in a job
    json_only  whether no control offers it: it is how one framework trains, or seldom chosen
    key, part  its name in an address, and the part of a job it is in; the field says both
    default    the value it has in a job that does not set it, where no other setting decides
    """

    label: str
    help: str
    group: str
    kind: Kind
    default: object
    choices: Mapping[str, str] = field(default_factory=dict)
    least: float = 1
    most: float = 0
    optional: bool = False
    applies: Applies = _always
    json_only: bool = False
    key: str = ""
    part: str = ""

    @property
    def name(self) -> str:
        """Its name in the JSON of its part: "rank" of adapters, whose key is "lora_rank"."""
        return self.key.removeprefix("lora_") if self.part == "recipe.lora" else self.key

    @property
    def path(self) -> str:
        """Where it stands in a job: "recipe.lora.rank"."""
        return f"{self.part}.{self.name}"

    @property
    def short_label(self) -> str:
        """Its label inside a sentence, without what stands in parentheses."""
        return self.label.partition(" (")[0]

    @property
    def values(self) -> tuple[object, ...]:
        """The values of a choice as JSON has them."""
        found = [None if text == "null" else text for text in self.choices]
        return (None, *found) if self.optional and None not in found else tuple(found)


def choice(
    default: object, label: str, help: str, group: str, choices: Mapping[str, str], **more: Any
) -> Any:
    """Declare a field that is one of `choices`; `more` are further fields of `Setting`."""
    return _declare(Setting(label, help, group, "choice", default, choices, **more))


def flag(default: object, label: str, help: str, group: str, **more: Any) -> Any:
    """Declare a field that is true or false."""
    return _declare(Setting(label, help, group, "flag", default, **more))


def whole_number(default: object, label: str, help: str, group: str, **more: Any) -> Any:
    """Declare a field that is a whole number from 1 to `most`, which `more` has."""
    return _declare(Setting(label, help, group, "whole", default, **more))


def probability(default: object, label: str, help: str, group: str, **more: Any) -> Any:
    """Declare a field that is a number from 0 to below 1, or None."""
    setting = Setting(label, help, group, "real", default, least=0, most=1, optional=True, **more)
    return _declare(setting)


def listing(default: object, label: str, help: str, group: str, kind: Kind, **more: Any) -> Any:
    """Declare a field of a kind that holds several values, or names beside numbers."""
    return _declare(Setting(label, help, group, kind, default, **more))


def _declare(setting: Setting) -> Any:
    return field(default=cast(Any, setting.default), metadata={"setting": setting})


@lru_cache(maxsize=8)
def settings_of(part: type, path: str, prefix: str = "") -> dict[str, Setting]:
    """Return the settings that the fields of a dataclass declare, by field name, in order."""
    return {
        each.name: replace(each.metadata["setting"], key=f"{prefix}{each.name}", part=path)
        for each in fields(part)
        if "setting" in each.metadata
    }


def check_setting(setting: Setting, value: object) -> None:
    """Refuse a value that no job can have for this setting; raises PlanError."""
    if value is None and (setting.optional or "null" in setting.choices):
        return
    bound, remedy = _CHECKS[setting.kind](setting, value)
    if bound:
        raise PlanError(setting.path, value, bound, instead_of(value) or remedy)


def join(values: object) -> str:
    """Return choices as JSON spells them, in a sentence."""
    return ", ".join("null" if value is None else str(value).lower() for value in values)  # type: ignore[attr-defined]


Verdict = tuple[str, str]
"""The bound that a value breaks and the remedy; two empty texts for a good value."""
_GOOD: Final[Verdict] = ("", "")


def _check_choice(setting: Setting, value: object) -> Verdict:
    if isinstance(value, str) and value in setting.values:
        return _GOOD
    return f"it must be one of {join(setting.values)}", "choose one"


def _check_flag(setting: Setting, value: object) -> Verdict:
    words = "true, false or null" if setting.optional else "true or false"
    return _GOOD if type(value) is bool else (f"it must be {words}", "correct it")


def _check_whole(setting: Setting, value: object) -> Verdict:
    if type(value) is int and setting.least <= value <= setting.most:
        return _GOOD
    return f"it must be a whole number in {setting.least:,} … {setting.most:,}", "correct it"


def _check_real(setting: Setting, value: object) -> Verdict:
    good = _is_number(value) and setting.least <= cast(float, value) < setting.most
    bound = f"it must be a number, at least {setting.least:,} and below {setting.most:,}"
    return _GOOD if good else (bound, "correct it, or drop it")


def _check_names(_: Setting, value: object) -> Verdict:
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, (list, tuple)) and names and all(type(n) is str for n in names)
    return _GOOD if good else ("it must be a list of names", 'give ["all-linear"]')


def _check_counts(setting: Setting, value: object) -> Verdict:
    if not isinstance(value, (list, tuple)) or not value:
        return "it must be a list of whole numbers", "give [8, 8]"
    good = all(type(each) is int and setting.least <= each <= setting.most for each in value)
    bound = f"each must be a whole number in {setting.least:,} … {setting.most:,}"
    return _GOOD if good else (bound, "correct it")


def _check_capacity(setting: Setting, value: object) -> Verdict:
    good = _is_number(value) and setting.least <= cast(float, value) < setting.most
    bound = f'it must be null, "fullest" or a number from 1 to below {setting.most:,}'
    return _GOOD if good or value == "fullest" else (bound, "correct it")


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


_CHECKS: Final[dict[str, Callable[[Setting, object], Verdict]]] = {
    "choice": _check_choice,
    "flag": _check_flag,
    "whole": _check_whole,
    "real": _check_real,
    "names": _check_names,
    "counts": _check_counts,
    "capacity": _check_capacity,
}

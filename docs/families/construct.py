"""Builds a model of transformers on the meta device and writes down how each tensor came to be.

The classes run as they are. In the modules of transformers' models four builtins have stand-ins
(`symbols.STAND_INS`), a profiler tells where the constructor of a module begins and ends, and what
makes an empty tensor passes on the expressions of its shape.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import huggingface_hub.dataclasses
import symbols
import torch
from symbols import Items, Number, expression_of, plain, symbol
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

Raw = dict[str, Any]
Steps = list[Any]
# what changes no tensor, or is checked for its type where it is taken
_LEFT_OUT = frozenset(
    [
        "id2label",
        "label2id",
        "architectures",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "problem_type",
        "tokenizer_class",
        "return_dict",
        "chunk_size_feed_forward",
        "output_attentions",
        "is_encoder_decoder",
        "output_hidden_states",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "model_type",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "use_cache",
    ]
)
_TAKEN = re.compile(r'kwargs\.(?:pop|get|setdefault)\(\s*"(\w+)"\s*,\s*([^,()]+?)\s*\)')
_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand, torch.full}


@dataclass
class Trace:
    """The steps in which a config and a model were made.

    `lists` are the items of each list that the config derives, by its path.
    """

    config: Steps = field(default_factory=list)
    model: Steps = field(default_factory=list)
    lists: dict[tuple[str, ...], list[Any]] = field(default_factory=dict)


class Recorder:
    """The listener of one construction."""

    def __init__(self) -> None:
        self.root: Steps = []
        self._open = [self.root]
        self._modules: list[tuple[nn.Module, Any, Steps]] = []
        self.turns: list[tuple[int, int]] = []
        """Depth and index of each loop that is under way."""

    def decide(self, expression: Any, outcome: Any) -> None:
        """Write down a decision, unless it was taken before on the way here."""
        taken = (step for steps in self._open for step in steps if step[0] == "if")
        if all(step[1] != expression for step in taken):
            self._open[-1].append(("if", expression, outcome))

    def register(self, parameter: Tensor) -> None:
        """Write down a parameter."""
        self._open[-1].append(("p", parameter, tuple(self.turns)))

    def loop(self, over: Any, values: range) -> Iterator[int]:
        """Yield the indices of a loop; what happens in each turn is written down apart."""
        depth, turns = len(self.turns), list[Steps]()
        self._open[-1].append(("for", depth, over, turns))
        below = len(self._open)
        self.turns.append((depth, 0))
        try:
            for index in values:
                del self._open[below:]
                self.turns[depth:] = [(depth, index)]
                turns.append([])
                self._open.append(turns[-1])
                yield Number(index, ("i", depth))
        finally:
            del self._open[below:], self.turns[depth:]

    def profile(self, frame: Any, event: str, _: Any) -> None:
        """Follow the constructors of modules."""
        if event == "call" and frame.f_code.co_name == "__init__":
            made = frame.f_locals.get("self")
            if isinstance(made, nn.Module) and not (self._modules and self._modules[-1][0] is made):
                steps: Steps = []
                self._open[-1].append(("m", steps))
                self._open.append(steps)
                self._modules.append((made, frame, steps))
        elif event == "return" and self._modules and self._modules[-1][1] is frame:
            steps = self._modules.pop()[2]
            while self._open.pop() is not steps:
                pass


class _Shapes(TorchFunctionMode):
    """Gives tensors the expressions of their shapes."""

    def __torch_function__(self, act: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute with plain sizes, and pass on what they were computed from."""
        kwargs = kwargs or {}
        made = act(*_plain(args), **{name: _plain(value) for name, value in kwargs.items()})
        if isinstance(made, Tensor) and "shape_of" not in made.__dict__:
            found = _shape_of(act, args, kwargs, made)
            if found is not None and len(found) == made.dim():
                made.__dict__["shape_of"] = found
        return made


def _plain(value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    return value if isinstance(value, Tensor) else plain(value)


def _shape_of(act: Any, args: Any, kwargs: Any, made: Tensor) -> tuple[Any, ...] | None:
    """Return the expressions of the shape of what was made, if they are known."""
    name = getattr(act, "__name__", "")
    if act in _MAKERS:
        size = kwargs.get("size", args[:1] if act is torch.full else args)
        size = size[0] if len(size) == 1 and isinstance(size[0], tuple | list) else size
        return tuple(map(expression_of, size))
    if name == "arange":
        ends = [*map(expression_of, args)]
        if len(ends) == 1 or (len(ends) == 2 and plain(args[0]) == 0):
            return (ends[-1],)
        return (("-", ends[1], ends[0]),) if len(ends) == 2 else None
    known = next((a for a in args if isinstance(a, Tensor) and "shape_of" in a.__dict__), None)
    if known is None:
        return None
    before: tuple[Any, ...] = known.__dict__["shape_of"]
    rest = args[1] if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:]
    if name in ("view", "reshape"):
        return tuple(map(expression_of, rest))
    if name in ("repeat", "tile", "expand"):
        sizes = [*map(expression_of, rest)]
        pairs = zip((1,) * (len(sizes) - len(before)) + before, sizes, strict=True)
        return tuple(
            (
                b
                if b != -1 and name == "expand"
                else a
                if b in (1, -1)
                else b
                if a == 1
                else ("*", a, b)
            )
            for a, b in pairs
        )
    if made.shape == known.shape:
        return before
    if name in ("unsqueeze", "__getitem__") and made.numel() == known.numel():
        left = [one for one in before if one != 1]
        return tuple(1 if size == 1 else left.pop(0) for size in made.shape)
    return None


def default_config(cls: type[PreTrainedConfig]) -> Raw:
    """Return the keys of a config class with their defaults; a nested config is a dict."""
    usual = cls()
    raw: Raw = {}
    for each in dataclasses.fields(cls):
        if each.name in _LEFT_OUT or each.name.startswith("_"):
            continue
        raw[each.name] = (
            each.default
            if each.default is not dataclasses.MISSING
            else each.default_factory()
            if each.default_factory is not dataclasses.MISSING
            else None
        )
    for name in cls.sub_configs or {}:
        nested = getattr(usual, name, None)
        if isinstance(nested, PreTrainedConfig):
            inside = default_config(type(nested))
            given = {key: getattr(nested, key, value) for key, value in inside.items()}
            kept = {k: v for k, v in given.items() if type(v) is type(inside[k])}
            raw[name] = {"model_type": nested.model_type, **inside, **kept}
    for base in cls.__mro__[: cls.__mro__.index(PreTrainedConfig)]:
        if issubclass(base, PreTrainedConfig):
            for name, written in _TAKEN.findall(inspect.getsource(base)):
                with contextlib.suppress(NameError, SyntaxError):
                    if name not in _LEFT_OUT:
                        raw.setdefault(name, eval(written, {"__builtins__": {}}))
    return raw


def _symbols(raw: Raw, path: tuple[str, ...] = ()) -> Raw:
    """Return the keys as symbols; names of activations stay plain, since they size nothing."""
    made: Raw = {}
    for name, value in raw.items():
        if isinstance(value, dict) and "model_type" in value:
            made[name] = _symbols(value, (*path, name))
        elif name == "model_type" or (isinstance(value, str) and "act" in name):
            made[name] = value
        else:
            made[name] = symbol(value, ("k", *path, name))
    return made


def construct(model_type: str, raw: Raw, mapping: Any, optional: tuple[Any, ...] = ()) -> Trace:
    """Return how a model of these keys is made; that an `optional` key is null is a decision.

    Raises whatever the classes raise for keys that they refuse.
    """
    config_class = CONFIG_MAPPING[model_type]
    recorder = Recorder()
    registered: list[Tensor] = []  # kept, so that no two have one id
    register, make = nn.Module.register_parameter, nn.Parameter.__new__

    def new_parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        made = make(cls, data, requires_grad)
        if "shape_of" in getattr(data, "__dict__", {}):
            made.__dict__["shape_of"] = data.__dict__["shape_of"]
        return made

    def note_parameter(self: nn.Module, name: str, parameter: Any) -> None:
        register(self, name, parameter)
        if parameter is not None:
            recorder.register(parameter)
            registered.append(parameter)

    with contextlib.ExitStack() as after:
        for target, name, value in (
            *_stand_ins(),
            (huggingface_hub.dataclasses, "type_validator", lambda *_: None),
            (symbols, "listener", recorder),
            (nn.Parameter, "__new__", new_parameter),
            (nn.Module, "register_parameter", note_parameter),
        ):
            after.enter_context(_replaced(target, name, value))
        for path in optional:
            recorder.decide(("none", ("k", *path)), get(raw, path) is None)
        config = config_class(**_symbols(raw))
        lists = dict(_wrap_lists(config, after))
        made = Trace(config=[*recorder.root], lists=lists)
        del recorder.root[len(optional) :]
        with torch.device("meta"), _Shapes():
            sys.setprofile(recorder.profile)
            try:
                model = mapping[config_class](config)
            finally:
                sys.setprofile(None)
    made.model = _named(recorder.root, {id(p): name for name, p in model.named_parameters()})
    return made


@contextlib.contextmanager
def _replaced(target: Any, name: str, value: Any) -> Iterator[None]:
    """Give a module or a class another value of a name for a while."""
    missing = object()
    before = target.__dict__.get(name, missing)
    setattr(target, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(target, name)
        else:
            setattr(target, name, before)


def _stand_ins() -> Iterator[tuple[Any, str, Any]]:
    for name, module in [*sys.modules.items()]:
        if re.match(r"transformers\.models\.\w+\.(modeling|configuration)_", name):
            for builtin, stand_in in symbols.STAND_INS.items():
                yield module, builtin, stand_in


def _wrap_lists(
    config: PreTrainedConfig, after: contextlib.ExitStack, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Give the items of each list that a config derives expressions; yield the lists' items.

    A property that derives a list is put in its place for the time of the trace.
    """
    names = [name for name in vars(config) if not name.startswith("_") and name not in _LEFT_OUT]
    classes = type(config).__mro__[: type(config).__mro__.index(PreTrainedConfig)]
    derived = [(c, n) for c in classes for n, p in vars(c).items() if isinstance(p, property)]
    for owner, name in [(config, name) for name in names] + derived:
        try:
            value = getattr(config, name)
        except Exception:  # a property of something else
            continue
        here = (*path, name)
        if isinstance(value, PreTrainedConfig) and owner is config:
            yield from _wrap_lists(value, after, here)
        elif isinstance(value, list) and all(isinstance(item, int | str) for item in value):
            wrapped = Items(value, ("l", *here))
            if owner is config:
                config.__dict__[name] = wrapped
            else:
                after.enter_context(_replaced(owner, name, wrapped))
            if getattr(value, "expression", None) != ("k", *here):
                items = value.bare() if isinstance(value, Items) else value
                yield here, [expression_of(item) for item in items]


def _named(steps: Steps, names: dict[int, str]) -> Steps:
    """Return the steps with names and shapes in place of parameters.

    An index of a loop that stands in a name is a field of it. A parameter that was tied to another
    one has no name.
    """
    made: Steps = []
    for step in steps:
        match step:
            case ("m", inner):
                made.append(("m", _named(inner, names)))
            case ("for", depth, over, turns):
                made.append(("for", depth, over, [_named(turn, names) for turn in turns]))
            case ("p", parameter, turns):
                shape = parameter.__dict__.get("shape_of", ("?", *parameter.shape))
                made.append(("p", _template(names.get(id(parameter)), turns), shape))
            case _:
                made.append(step)
    return made


def _template(name: str | None, turns: tuple[tuple[int, int], ...]) -> str | None:
    if name is None:
        return None
    parts, at = name.split("."), 0
    for depth, index in turns:
        if str(index) in parts[at:]:
            at = parts.index(str(index), at)
            parts[at] = f"{{{depth}}}"
    return ".".join(parts)


def get(raw: Raw, path: tuple[str, ...]) -> Any:
    """Return the value under a path of keys, None where there is none."""
    value: Any = raw
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value

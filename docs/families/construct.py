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
from functools import lru_cache
from typing import Any

import huggingface_hub.dataclasses
import symbols
import torch
from symbols import Items, Number, expression_of, plain, symbol
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    configuration_utils,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

Raw = dict[str, Any]
KeyPath = tuple[str, ...]
Steps = list[Any]
# what changes no tensor, or is checked for its type where it is taken
LEFT_OUT = frozenset(
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
        "asm",
        "model_type",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "use_cache",
        "initializer_range",
    ]
)
_TAKEN = re.compile(r'kwargs\.(?:pop|get|setdefault)\(\s*"(\w+)"\s*,\s*([^,()]+?)\s*\)')
_IN_PLACE = re.compile(
    r'kwargs\.(?:pop|get)\(\s*"(\w+)"\s*,\s*self\.(\w+)\s*\)|\n +self\.(\w+) = self\.(\w+)\n'
)
_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand, torch.full}


_AUTO = (AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM)


@dataclass
class Trace:
    """The steps in which a config and a model were made.

    `lists` is what the config derives of its keys, by path: expressions, or lists of them.
    """

    config: Steps = field(default_factory=list)
    model: Steps = field(default_factory=list)
    lists: dict[KeyPath, Any] = field(default_factory=dict)


class Recorder:
    """The listener of one construction."""

    def __init__(self) -> None:
        self.root: Steps = []
        self._open = [self.root]
        self._modules: list[tuple[nn.Module, Any, Steps]] = []
        self.turns: list[tuple[int, int]] = []
        """Depth and index of each loop that is under way."""
        self.muted = self.is_read = False

    def decide(self, expression: Any, outcome: Any) -> None:
        """Write down a decision, unless it was taken before on the way here."""
        if self.muted:
            return
        for steps in self._open:
            for step in steps:
                if step[0] == "if" and step[1] == expression:
                    return
        self._open[-1].append(("if", expression, outcome))

    def register(self, module: nn.Module, name: str, parameter: Tensor) -> None:
        """Write down a parameter of a module."""
        if not self.muted:
            self._open[-1].append(("p", parameter, (module, name), tuple(self.turns)))

    def call(self, module: nn.Module, kind: str, path: KeyPath, model_type: str) -> None:
        """Write down a model of another family, made of the config under a path."""
        self._open[-1].append(("c", module, kind, path, model_type, tuple(self.turns)))

    def loop(self, over: Any, values: range) -> Iterator[int]:
        """Yield the indices of a loop; what happens in each turn is written down apart."""
        if self.muted:
            yield from values
            return
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
        if self.muted:
            return
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
    if name in ("tensor", "as_tensor") and args and isinstance(args[0], list | tuple):
        return (expression_of(args[0]) and ("len", expression_of(args[0])), *made.shape[1:])
    known = [a for a in _tensors(args) if "shape_of" in a.__dict__]
    if not known:
        return tuple(made.shape)
    before: tuple[Any, ...] = known[0].__dict__["shape_of"]
    rest = args[1] if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:]
    if name in ("view", "reshape") and -1 not in rest:
        return tuple(map(expression_of, rest))
    if name in ("new_empty", "new_zeros", "new_ones"):
        return tuple(map(expression_of, rest))
    if name in ("repeat", "tile", "expand"):
        return _repeated(name, before, [*map(expression_of, rest)])
    if name == "cat" and made.dim() == 1:
        total, *more = (t.__dict__.get("shape_of", tuple(t.shape))[0] for t in _tensors(args))
        for one in more:
            total = ("+", total, one)
        return (total,)
    if made.shape == known[0].shape and len(known) == 1:
        return before
    if name in ("unsqueeze", "__getitem__", "squeeze") and made.numel() == known[0].numel():
        left = [one for one in before if one != 1]
        return tuple(1 if size == 1 else left.pop(0) for size in made.shape)
    return tuple(_length(size, known) for size in made.shape)


def _tensors(args: Any) -> Iterator[Tensor]:
    for each in args:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, tuple | list):
            yield from _tensors(each)


def _repeated(name: str, before: tuple[Any, ...], sizes: list[Any]) -> tuple[Any, ...]:
    made = []
    for a, b in zip((1,) * (len(sizes) - len(before)) + before, sizes, strict=True):
        if b == -1 or (b == 1 and name == "expand"):
            made.append(a)
        elif name == "expand" or a == 1:
            made.append(b)
        else:
            made.append(a if b == 1 else ("*", a, b))
    return tuple(made)


def _length(size: int, known: list[Tensor]) -> Any:
    """Return a length as that of a dimension of `known`, or the product or sum of two."""
    sizes = [
        (n, one) for t in known for n, one in zip(t.shape, t.__dict__["shape_of"], strict=True)
    ]
    for n, one in sizes:
        if n == size and isinstance(one, tuple):
            return one
    for place, (n, one) in enumerate(sizes):
        for m, other in sizes[place + 1 :]:
            if isinstance(one, tuple) or isinstance(other, tuple):
                if n * m == size:
                    return ("*", one, other)
                if n + m == size:
                    return ("+", one, other)
    return size


def default_config(cls: type[PreTrainedConfig]) -> Raw:
    """Return the keys of a config class with their defaults; a nested config is a dict."""
    usual = cls()
    raw: Raw = {}
    for each in dataclasses.fields(cls):
        if each.name in LEFT_OUT or each.name.startswith("_"):
            continue
        raw[each.name] = (
            each.default
            if each.default is not dataclasses.MISSING
            else each.default_factory()
            if each.default_factory is not dataclasses.MISSING
            else None
        )
    raw = {name: _listed(value) for name, value in raw.items()}
    for name, spec in cls.sub_configs_defaults.items():
        nested = getattr(usual, name, None)
        if isinstance(nested, PreTrainedConfig):
            inside = default_config(type(nested))
            given = {key: value for key, value in spec.init_kwargs.items() if key not in LEFT_OUT}
            raw[name] = {"model_type": nested.model_type, **inside, **given}
    for base in cls.__mro__[: cls.__mro__.index(PreTrainedConfig)]:
        if issubclass(base, PreTrainedConfig):
            for name, written in _TAKEN.findall(inspect.getsource(base)):
                with contextlib.suppress(NameError, SyntaxError):
                    if name not in LEFT_OUT:
                        raw.setdefault(name, eval(written, {"__builtins__": {}}))
    return raw


def _listed(value: Any) -> Any:
    """Return a value as JSON has it: tuples are lists."""
    if isinstance(value, tuple | list):
        return [*map(_listed, value)]
    if isinstance(value, dict):
        return {str(key): _listed(one) for key, one in value.items()}
    return value


def _symbols(raw: Raw, path: tuple[str, ...] = ()) -> Raw:
    """Return the keys as symbols; names of activations stay plain, since they size nothing."""
    made: Raw = {}
    for name, value in raw.items():
        if isinstance(value, dict) and "model_type" in value:
            made[name] = _symbols(value, (*path, name))
        elif name in LEFT_OUT or (isinstance(value, str) and "act" in name):
            made[name] = value
        else:
            made[name] = symbol(value, ("k", *path, name))
    return made


def _watched(
    recorder: Recorder, registered: dict[int, Tensor], inner: dict[int, KeyPath]
) -> Iterator[tuple[Any, str, Any]]:
    """Yield what tells of parameters, and of models of the configs `inner`."""
    register, make = nn.Module.register_parameter, nn.Parameter.__new__

    def new_parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        made = make(cls, data, requires_grad)
        if "shape_of" in getattr(data, "__dict__", {}):
            made.__dict__["shape_of"] = data.__dict__["shape_of"]
        return made

    def note_parameter(self: nn.Module, name: str, parameter: Any) -> None:
        register(self, name, parameter)
        if parameter is not None and id(parameter) not in registered:  # or it is tied
            recorder.register(self, name, parameter)
            registered[id(parameter)] = parameter

    def note_model(make_model: Any, cls: Any, config: Any, **kwargs: Any) -> Any:
        path = inner.get(id(config))
        if path is None or recorder.muted:
            return make_model(cls, config, **kwargs)
        recorder.muted = True
        try:
            made = make_model(cls, config, **kwargs)
        finally:
            recorder.muted = False
        recorder.call(made, cls.__name__, path, config.model_type)
        return made

    yield nn.Parameter, "__new__", new_parameter
    yield nn.Module, "register_parameter", note_parameter
    for cls in _AUTO:
        yield cls, "from_config", classmethod(_bound(note_model, cls.from_config.__func__))


def construct(model_type: str, raw: Raw, mapping: Any, optional: Any = ()) -> Trace:
    """Return how a model of these keys is made; that an `optional` key is null is a decision.

    Raises whatever the classes raise for keys that they refuse.
    """
    config_class = CONFIG_MAPPING[model_type]
    recorder = Recorder()
    registered: dict[int, Tensor] = {}  # kept, so that no two have one id
    inner: dict[int, KeyPath] = {}
    with contextlib.ExitStack() as after:
        for target, name, value in (
            *_stand_ins(),
            (huggingface_hub.dataclasses, "type_validator", lambda *_: None),
            (torch, "FloatTensor", torch.empty),
            (symbols, "listener", recorder),
            *_watched(recorder, registered, inner),
            (configuration_utils, "remap_legacy_layer_types", _rename_kinds),
            *(
                (configuration_utils, name, _Allowed(getattr(configuration_utils, name)))
                for name in _KINDS
            ),
            *_read_hooks(recorder, config_class, raw, frozenset(optional)),
        ):
            after.enter_context(_replaced(target, name, value))
        config = config_class(**_symbols(raw))
        inner |= {id(one): path for path, one in _inner_configs(config)}
        made = Trace(lists=dict(_wrap(config, raw, after)))
        made.config = [*recorder.root]
        recorder.root.clear()
        recorder.is_read = True
        with torch.device("meta"), _Shapes():
            sys.setprofile(recorder.profile)
            try:
                model = mapping[config_class](config)
            finally:
                sys.setprofile(None)
    made.model = _named(recorder.root, _Names(model))
    return made


class _Names:
    """The names of a model's modules and parameters; "" where there is none."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = {id(m): name for name, m in model.named_modules()}
        self._parameters = {id(p): name for name, p in model.named_parameters()}
        self._left = {*self._parameters.values()}
        self._lists = {
            name: len(m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)
        }

    def of_module(self, module: nn.Module) -> str:
        """Return the name of a module."""
        return self._modules.get(id(module), "")

    def is_alone(self, name: str) -> bool:
        """Return whether one module alone is in a list of them."""
        return self._lists.get(name) == 1

    def take(self, parameter: Tensor, module: nn.Module, name: str) -> str:
        """Return the name under which a parameter is listed, which no other one has: that of its
        place, whichever of two tied ones is left there.
        """
        found = f"{self._modules.get(id(module), '?')}.{name}".removeprefix(".")
        if found not in self._left:
            found = self._parameters.get(id(parameter), "")
        if found not in self._left:
            return ""
        self._left.remove(found)
        return found


def _bound(note: Any, make_model: Any) -> Any:
    def noted(cls: Any, config: Any, **kwargs: Any) -> Any:
        return note(make_model, cls, config, **kwargs)

    return noted


def _inner_configs(config: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            yield (*path, name), value
            yield from _inner_configs(value, (*path, name))


def config_classes(
    config_class: Any, raw: Raw, path: KeyPath = ()
) -> Iterator[tuple[Any, KeyPath]]:
    """Yield the classes of a config and of those inside it, with their paths."""
    yield config_class, path
    for name, value in raw.items():
        if isinstance(value, dict) and "model_type" in value:
            spec = config_class.sub_configs_defaults.get(name)
            kind = value["model_type"]
            if spec is not None and issubclass(spec.config_class, PreTrainedConfig):
                yield from config_classes(spec.config_class, value, (*path, name))
            elif kind in CONFIG_MAPPING:
                yield from config_classes(CONFIG_MAPPING[kind], value, (*path, name))


@lru_cache
def in_place(cls: Any) -> dict[str, str]:
    """Return keys that a config class takes in place of others, which it declares."""
    own = [c for c in cls.__mro__ if c is not PreTrainedConfig and issubclass(c, PreTrainedConfig)]
    pairs = (filter(None, found) for c in own for found in _IN_PLACE.findall(inspect.getsource(c)))
    declared = getattr(cls, "__dataclass_fields__", {})
    return {a: b for a, b in map(tuple, pairs) if not hasattr(cls, a) and a not in declared}


def declared_type(config_class: Any, raw: Raw, path: KeyPath) -> str:
    """Return the type that a key is declared with, as text; "" where it is not declared."""
    for cls, place in config_classes(config_class, raw):
        if place == path[:-1]:
            name = in_place(cls).get(path[-1], path[-1])
            field_ = getattr(cls, "__dataclass_fields__", {}).get(name)
            return str(field_.type) if field_ else ""
    return ""


def _read_hooks(
    recorder: Recorder, config_class: Any, raw: Raw, optional: frozenset[KeyPath]
) -> Iterator[tuple[Any, str, Any]]:
    """Yield ways to read a config that tell of keys which are, or could be, null."""
    found: dict[Any, list[KeyPath]] = {}
    for cls, path in config_classes(config_class, raw):
        found.setdefault(cls, []).append(path)
    for cls, paths in found.items():
        names = {path[-1] for path in optional if path[:-1] in paths}
        if names and len(paths) == 1:
            given = get(raw, paths[0]) or {}
            yield cls, "__getattribute__", _reader(recorder, cls, paths[0], names, given)
            if taken := {path[-1] for path in optional} & {*in_place(cls)}:
                yield cls, "__post_init__", _beginning(recorder, cls, paths[0], taken)


def _beginning(recorder: Recorder, cls: Any, path: KeyPath, names: set[str]) -> Any:
    """Return how a config begins, which tells of the keys `names` whether they are given."""
    begin = cls.__post_init__

    def begins(self: Any, **kwargs: Any) -> None:
        for name in sorted(names) if type(self) is cls else ():
            recorder.decide(("none", ("k", *path, name)), kwargs.get(name) is None)
        begin(self, **kwargs)

    return begins


def _reader(recorder: Recorder, cls: Any, path: KeyPath, names: set[str], given: Raw) -> Any:
    read = cls.__getattribute__
    undeclared = {name for name in names if not hasattr(cls, name)} - {
        *getattr(cls, "__dataclass_fields__", {})
    }

    def reads(self: Any, name: str) -> Any:
        try:
            value = read(self, name)
        except AttributeError:
            if name in names and type(self) is cls:
                recorder.decide(("none", ("k", *path, name)), True)
            raise
        name = cls.attribute_map.get(name, name)
        if name in names and type(self) is cls:
            key = ("l" if recorder.is_read else "k", *path, name)
            if name in undeclared:
                recorder.decide(("none", ("k", *path, name)), given.get(name) is None)
            elif value is None or getattr(value, "expression", None) == key:
                recorder.decide(("none", key), value is None)
        return value

    return reads


_RENAME = configuration_utils.remap_legacy_layer_types
_KINDS = ("ALLOWED_ATTN_LAYER_TYPES", "ALLOWED_MLP_LAYER_TYPES")


def _rename_kinds(layer_types: Any = None, config: Any = None) -> Any:
    """Give a config's kinds of layers the names of today, as transformers does."""
    names, made = configuration_utils._LEGACY_LAYER_TYPE_REMAP, dict[str, Any]()
    for key in ("layer_types", "mtp_layer_types") if config is not None else ():
        given = vars(config).get(key)
        if isinstance(given, Items) and all(isinstance(kind, str) for kind in given.bare()):
            written = ("renamed", given.expression, ("list", *names), ("list", *names.values()))
            config.__dict__[key] = [names.get(kind, kind) for kind in plain(given)]
            made[key] = Items(config.__dict__[key], written)
    renamed = _RENAME(layer_types, config)
    if config is not None:
        config.__dict__.update(made)
    return renamed


class _Allowed(tuple[str, ...]):
    """Kinds of layers that transformers allows: to look a kind up is no decision."""

    def __contains__(self, kind: object) -> bool:
        return super().__contains__(plain(kind))


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
    for module in _modules(len(sys.modules)):
        for builtin, stand_in in symbols.STAND_INS.items():
            yield module, builtin, stand_in


@lru_cache(maxsize=1)
def _modules(_: int) -> list[Any]:
    """Return the modules of models and configs that are loaded."""
    written = re.compile(r"transformers\.models\.\w+\.(modeling|configuration)_")
    return [module for name, module in [*sys.modules.items()] if written.match(name)]


def _wrap(
    config: PreTrainedConfig, raw: Raw, after: contextlib.ExitStack, path: KeyPath = ()
) -> Iterator[tuple[KeyPath, Any]]:
    """Give what a config derives from its keys expressions of its own; yield what each is.

    A property that derives a list is put in its place for the time of the trace.
    """
    names = [name for name in vars(config) if not name.startswith("_") and name not in LEFT_OUT]
    classes = type(config).__mro__[: type(config).__mro__.index(PreTrainedConfig)]
    derived = [(c, n) for c in classes for n, p in vars(c).items() if isinstance(p, property)]
    for owner, name in [(config, name) for name in names] + derived:
        try:
            value = vars(config)[name] if owner is config else getattr(config, name)
        except Exception:  # a property of something else
            continue
        here, expression = (*path, name), getattr(value, "expression", None)
        if isinstance(value, PreTrainedConfig) and owner is config:
            inside = raw.get(name)
            yield from _wrap(value, inside if isinstance(inside, dict) else {}, after, here)
        elif isinstance(value, list) and all(isinstance(item, int | str) for item in value):
            _put(owner, name, Items(value, ("l", *here)), config, after)
            if expression is not None:
                yield here, expression
            else:
                items = value.bare() if isinstance(value, Items) else value
                yield here, [expression_of(item) for item in items]
        elif owner is not config or (isinstance(value, str) and "act" in name):
            continue
        elif value is None and name in raw:
            yield here, None if raw[name] is not None else ("k", *here)
        elif isinstance(value, int | float | str) and (
            name in raw or expression is not None or not hasattr(PreTrainedConfig, name)
        ):
            config.__dict__[name] = symbol(value, ("l", *here))
            yield here, expression_of(value)


def _put(owner: Any, name: str, value: Any, config: Any, after: contextlib.ExitStack) -> None:
    if owner is config:
        config.__dict__[name] = value
    else:
        after.enter_context(_replaced(owner, name, value))


def _named(steps: Steps, names: _Names) -> Steps:
    """Return the steps with names and shapes in place of parameters.

    An index of a loop that stands in a name is a field of it. A parameter that was tied to another
    one has no name.
    """
    made: Steps = []
    for step in steps:
        match step:
            case ("m", inner):
                named = ("m", _named(inner, names))
                made.append(_numbered_on(named, made[-1], names) if made else named)
            case ("for", depth, over, turns):
                made.append(("for", depth, over, [_named(turn, names) for turn in turns]))
            case ("c", module, kind, path, model_type, turns):
                name = _template(names.of_module(module), turns)
                made.append(("c", name, kind, path, model_type))
            case ("p", parameter, place, turns):
                shape = parameter.__dict__.get("shape_of", tuple(parameter.shape))
                made.append(("p", _template(names.take(parameter, *place), turns), shape))
            case _:
                made.append(step)
    return made


def _numbered_on(module: Any, loop: Any, names: _Names) -> Any:
    """Return a module in a loop of one turn where its number is how often the loop before it turns:
    it is the last one of a list that the loop begins.
    """
    if loop[0] != "for" or loop[2][:1] != ("range",) or len(loop[2]) != 2:
        return module
    (_, depth, (_, count), turns), first = loop, next(_names_in([module]), "")
    at, number, inside = first.partition(f".{len(turns)}.")
    begun = [name.partition(f".{{{depth}}}.") for name in _names_in(turns[-1] if turns else [])]
    alone = not turns and names.is_alone(at)
    if not inside or not (alone or at in (before for before, *_ in begun)):
        return module
    return ("for", depth, ("list", count), [[_renumbered(module, f"{at}{number}", depth)]])


def _names_in(steps: Any) -> Iterator[str]:
    for step in steps:
        if step[0] == "p" and step[1]:
            yield step[1]
        elif step[0] == "m":
            yield from _names_in(step[1])


def _renumbered(step: Any, begins: str, depth: int) -> Any:
    """Return steps in which the last part of what names begin with is the index of a loop."""
    match step:
        case ("p" | "c" as kind, str(name), *rest) if name.startswith(begins):
            at = begins[:-1].rpartition(".")[0]
            return (kind, f"{at}.{{{depth}}}.{name.removeprefix(begins)}", *rest)
        case ("m", inner):
            return ("m", [_renumbered(one, begins, depth) for one in inner])
    return step


def _template(name: str, turns: tuple[tuple[int, int], ...]) -> str | None:
    if not name:
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

"""Load a model so that each process reads only its shard.

    begin    builds it from its configuration, parameters on the meta device and buffers in memory,
             and compares names and shapes with the files, as transformers would
    shard    by `World.shard`, like any other model
    fill     reads rows from the safetensors files, or from the shards of a checkpoint

The result has the same bits as that of `load`, and what `load` refuses is refused with the same
message. Where files cannot be read in part (`WholeOnly`), `load` must be used, and each process
then has the whole model in CPU memory before it keeps its shard.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gpu_runner.config.bounds import Precision
from gpu_runner.errors import CheckpointError
from gpu_runner.model import attention
from gpu_runner.model.load import (
    CUSTOM_CODE,
    DTYPES,
    Source,
    check_count,
    check_vocabulary,
    check_weights,
    class_of,
    file_of,
    forget_custom_code,
    is_packed,
    read_config,
    read_json,
    readable_errors,
    vocabulary_of,
)
from gpu_runner.model.load import WEIGHTS as WEIGHT_FILES
from gpu_runner.world import as_sharded, freeze_encoders, local, rows_of
from gpu_runner.world.sharded_files import WEIGHTS, RowReader, StoredTensors


class WholeOnly(Exception):
    """Each process must read the whole model, for the reason in the text."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """Which stored tensors some parameters are made of.

    targets     names of the parameters in the model
    sources     (pattern of the rule, name in the files), in the order of transformers
    converter   the rule of transformers; None where one tensor is one parameter
    by_rows     whether row i of the parameter is made of the i-th tensor of each pattern
    """

    targets: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    converter: Any = None
    by_rows: bool = False

    def some(self, rows: range) -> Conversion:
        """Return the conversion of some rows of the parameter; only where it is `by_rows`."""
        lists: dict[str, list[tuple[str, str]]] = {}
        for pattern, name in self.sources:
            lists.setdefault(pattern, []).append((pattern, name))
        chosen = [pair for pairs in lists.values() for pair in pairs[rows.start : rows.stop]]
        return replace(self, sources=tuple(chosen))

    def convert(self, model: Any, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Return the parameters by name, made of the stored tensors that `read` returns."""
        rule = deepcopy(self.converter)
        for pattern, name in self.sources:
            rule.add_tensor(self.targets[0], name, pattern, read(name))
        made = rule.convert(self.targets[0], model=model, config=model.config)
        return {name: one[0] if isinstance(one, list) else one for name, one in made.items()}


def conversion_rules(model: Any, *, packed: bool = False) -> list[Any]:
    """Return transformers' conversion rules of a model. Raises `WholeOnly` where it has no such.

    With `packed` they unpack weights in MXFP4.
    """
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer
        from transformers.utils.quantization_config import Mxfp4Config
    except ImportError as error:
        raise WholeOnly(f"this transformers converts in another way ({error})") from None
    unpacking = None
    if packed:
        unpacking = Mxfp4HfQuantizer(Mxfp4Config(dequantize=True), pre_quantized=True)
    found: list[Any] = get_model_conversion_mapping(model, hf_quantizer=unpacking)
    return found


def match_weights(
    model: Any, stored: StoredTensors, rules: list[Any]
) -> tuple[list[Conversion], dict[str, Any]]:
    """Return the conversion of every weight, and what is missing, unexpected or mismatched.

    Raises `WholeOnly` where a rule cannot be applied to tensors without memory.
    """
    wanted: dict[str, Tensor] = model.state_dict()
    try:
        grouped, unexpected = _grouped(model, stored, rules, wanted)
        found = [_apply(one, model, stored) for one in grouped]
        if rules:  # else it would be saved under the names of a new model
            model._weight_conversions = [
                rule for rule in rules if rule.was_used() and not _unpacks(rule)
            ]
    except Exception as error:  # other versions of transformers can raise anything
        raise WholeOnly(
            f"its names need a conversion that cannot be tried ({type(error).__name__}: {error})"
        ) from None
    shapes = {name: shape for _, made in found for name, shape in made.items()}
    mismatched = {
        (name, torch.Size(shape), wanted[name].shape)
        for name, shape in shapes.items()
        if name in wanted and tuple(wanted[name].shape) != shape
    }
    unexpected |= shapes.keys() - wanted.keys()
    chosen, missing = _untied(model, stored, [one for one, _ in found], set(wanted) - shapes.keys())
    report = {
        "missing_keys": _without(missing, model, "_keys_to_ignore_on_load_missing"),
        "unexpected_keys": _without(unexpected, model, "_keys_to_ignore_on_load_unexpected"),
        "mismatched_keys": mismatched,
    }
    return chosen, report


def _unpacks(rule: Any) -> bool:
    """Return whether a rule makes a weight of packed numbers, which no saved model has again."""
    return any("Dequantize" in type(one).__name__ for one in getattr(rule, "operations", ()))


def _grouped(
    model: Any, stored: StoredTensors, rules: list[Any], wanted: dict[str, Tensor]
) -> tuple[list[Conversion], set[str]]:
    """Return the conversions that the rules imply, and names that match no weight."""
    if not rules:
        plain = [Conversion((name,), ((name, name),)) for name in stored.names()]
        return [one for one in plain if one.targets[0] in wanted], set(
            stored.names()
        ) - wanted.keys()
    from transformers.core_model_loading import (
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    of_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    prefix = model.base_model_prefix
    groups: dict[str, tuple[Any, list[tuple[str, str]]]] = {}
    unexpected: set[str] = set()
    for name in sorted(stored.names(), key=dot_natural_key):
        target, pattern = rename_source_key(name, renamings, converters, prefix, wanted)
        if target not in wanted and name in wanted:
            target, pattern = rename_source_key(name, [], [], prefix, wanted)
        if target in wanted:
            rule = of_pattern[pattern] if pattern is not None else None
            groups.setdefault(target, (rule, []))[1].append((pattern or name, name))
        elif pattern is not None:
            targets = of_pattern[pattern].target_patterns
            unexpected |= {target.replace(targets[0], other) for other in targets}
        else:
            unexpected.add(target)
    found = [Conversion((name,), tuple(some), rule) for name, (rule, some) in groups.items()]
    return found, unexpected


def _apply(
    take: Conversion, model: Any, stored: StoredTensors
) -> tuple[Conversion, dict[str, tuple[int, ...]]]:
    """Return a conversion with all of its targets, and their shapes, on the meta device."""
    if take.converter is None:
        return take, {take.targets[0]: stored.shape(take.sources[0][1])}

    def empty(name: str) -> Tensor:
        return torch.empty(stored.shape(name), device="meta")

    made = take.convert(model, empty)
    shapes = {name: tuple(tensor.shape) for name, tensor in made.items()}
    first = take.targets[0]
    if first not in shapes:
        raise KeyError(f"{first} is not among {', '.join(sorted(shapes)[:3])}")
    targets = (first, *(name for name in shapes if name != first))
    return replace(take, targets=targets, by_rows=_is_by_rows(take, shapes)), shapes


def _is_by_rows(take: Conversion, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Return whether tensors are stacked first, and concatenated within rows of the stack only."""
    from transformers.core_model_loading import Concatenate, MergeModulelist

    first, *others = take.converter.operations
    counts: dict[str, int] = {}
    for pattern, _ in take.sources:
        counts[pattern] = counts.get(pattern, 0) + 1
    (rows, *_), *more = shapes.values()
    return (
        not more
        and isinstance(first, MergeModulelist)
        and first.dim == 0
        and all(isinstance(other, Concatenate) and other.dim > 0 for other in others)
        and set(counts.values()) == {rows}
    )


def _untied(
    model: Any, stored: StoredTensors, found: list[Conversion], missing: set[str]
) -> tuple[list[Conversion], set[str]]:
    """Return one conversion for each parameter, and the names still missing.

    Tied parameters have several names, of which one is enough. Raises `WholeOnly` for files that
    have both with different values.
    """
    ties: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        ties.setdefault(parameter, []).append(name)
    of_target = {name: take for take in found for name in take.targets}
    for names in ties.values():
        there = [name for name in names if name in of_target]
        if there:
            missing = missing.difference(names)
        for other in there[1:]:
            if not _equal(stored, of_target[there[0]], of_target[other]):
                raise WholeOnly(f"{there[0]} and {other} are tied, and differ in the files")
            found = [take for take in found if take is not of_target[other]]
    return found, missing


def _equal(stored: StoredTensors, one: Conversion, other: Conversion) -> bool:
    if one.converter is not None or other.converter is not None:
        return False
    with stored.reading() as reader:
        return torch.equal(reader.rows(one.sources[0][1]), reader.rows(other.sources[0][1]))


def _without(names: set[str], model: Any, attribute: str) -> set[str]:
    """Return the names that the model's class does not tell transformers to ignore."""
    patterns = set(getattr(model, attribute, None) or ())
    if attribute.endswith("unexpected"):  # buffers in older files
        buffers = [name for name, _ in model.named_buffers()]
        if any(name.endswith("rotary_emb.inv_freq") for name in buffers):
            patterns.add(r"rotary_emb\.inv_freq")
        if any(name.endswith("position_ids") for name in buffers):
            patterns.add(r"(^|\.)position_ids$")
    return {name for name in names if not any(re.search(p, name) for p in patterns)}


def has_sharded_weights(place: Path) -> bool:
    """Return whether a checkpoint has shards of the weights, not whole files."""
    return (place / WEIGHTS).is_dir()


@dataclass(slots=True)
class UnfilledModel:
    """A model without weights, and where each of them is read from."""

    source: Source
    model: Any
    stored: StoredTensors
    takes: list[Conversion]

    def fill(self, device: torch.device) -> None:
        """Read this process's shard of each parameter to `device`, one at a time.

        Raises `ModelLoadError`.
        """
        found: dict[str, nn.Parameter] = {}
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        buffers = dict(self.model.named_buffers())
        names: dict[nn.Parameter, list[str]] = {}
        for name, parameter in parameters.items():
            names.setdefault(parameter, []).append(name)
        with readable_errors(self.source, "weights"), self.stored.reading() as reader:
            for take in self.takes:
                for name, rows in self._read(take, reader, parameters):
                    if name in buffers:
                        buffers[name].copy_(rows)
                        continue
                    its = parameters[name]
                    part = rows.to(device, its.dtype, copy=True).contiguous()
                    held = nn.Parameter(as_sharded(its, part))
                    found |= dict.fromkeys(names[its], held)
        self.model.load_state_dict(found, strict=False, assign=True)
        for buffer_name, buffer in buffers.items():
            if buffer.device != device:
                module, _, last = buffer_name.rpartition(".")
                setattr(self.model.get_submodule(module), last, buffer.to(device))

    @contextmanager
    def tensors(self) -> Iterator[Callable[[str], Tensor]]:
        """Open the files; what is yielded returns a weight of an unsharded model by name."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        of_target = {name: take for take in self.takes for name in take.targets}
        tied: dict[nn.Parameter, list[str]] = {}
        for name, parameter in parameters.items():
            tied.setdefault(parameter, []).append(name)
        with self.stored.reading() as reader:

            def read_weight(name: str) -> Tensor:
                same = tied[parameters[name]] if name in parameters else [name]
                there = next(other for other in same if other in of_target)
                with readable_errors(self.source, "weights"):
                    made = dict(self._read(of_target[there], reader, parameters))
                return made[there].to(parameters[name].dtype) if name in parameters else made[there]

            yield read_weight

    def _read(
        self, take: Conversion, reader: RowReader, parameters: dict[str, nn.Parameter]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, this process's rows) of every parameter or buffer that `take` makes."""
        first = parameters.get(take.targets[0])
        if take.converter is None:
            wanted = slice(None) if first is None else rows_of(first)
            yield take.targets[0], reader.rows(take.sources[0][1], wanted)
            return
        assert first is not None  # no rule converts a buffer
        if take.by_rows:
            held = range(*rows_of(first).indices(first.shape[0]))
            if not held:
                yield take.targets[0], local(first).new_empty(local(first).shape, device="cpu")
                return
            chosen = take.some(held)
        else:
            chosen = take

        def read(name: str) -> Tensor:
            rows = reader.rows(name)
            return rows.to(first.dtype) if rows.is_floating_point() else rows  # packed ones stay

        made = chosen.convert(self.model, read)
        for name, tensor in made.items():
            rows = slice(None) if take.by_rows else rows_of(parameters[name])
            yield name, tensor[rows]


def begin(source: Source, tokenizer: Any, params: Precision) -> UnfilledModel:
    """Return the model of `source` in `params` precision, trainable, without weights.

    Raises `WholeOnly` where its files cannot be read in part, `ModelLoadError` as `load` does.
    """
    config, shape = read_config(source)
    check_vocabulary(source.name, len(tokenizer), vocabulary_of(config))
    place = Path(source.place)
    own = has_sharded_weights(place)
    files = sorted((place / WEIGHTS).glob("*.safetensors")) if own else _files(source)
    packed = is_packed(source, config)
    _refuse(source, config, files)
    vars(config).pop("quantization_config", None)  # of the files, not of the model
    known = attention.arguments_for(shape)
    with readable_errors(source, "weights"):
        model = skeleton(source, config, DTYPES[params], known)
        _add_generation_config(model, source.place)
    try:
        stored = StoredTensors(files)
    except CheckpointError as error:
        raise WholeOnly(str(error)) from None
    _keep_precisions(model, DTYPES[params], stored if own else None)
    found, report = match_weights(
        model, stored, [] if own else conversion_rules(model, packed=packed)
    )
    check_weights(source.name, report)
    if not source.trusted:
        forget_custom_code(model.config)
    freeze_encoders(model)
    model.train()
    check_count(source.name, model, shape)
    return UnfilledModel(source, model, stored, found)


def _files(source: Source) -> list[Path]:
    """Return the safetensors files that transformers would read; none where it reads others."""
    if source.kind == "gguf":
        return []
    one, index = WEIGHT_FILES[:2]
    if (found := file_of(source, one)) is not None:
        return [found]
    if (found := file_of(source, index)) is None:
        return []
    named = read_json(found).get("weight_map")
    names = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
    return [file for name in names if (file := file_of(source, name)) is not None]


def _refuse(source: Source, config: Any, files: list[Path]) -> None:
    """Raise `WholeOnly` for what only `load` can read, or refuse."""
    reasons = {
        "its weights are not safetensors files": not files,
        "it brings code of its own": source.trusted and hasattr(config, CUSTOM_CODE),
        "it names files of its own": bool(
            getattr(config, "transformers_weights", None)
            or getattr(type(config), "extra_files", ())
        ),
    }
    if found := [reason for reason, true in reasons.items() if true]:
        raise WholeOnly(found[0])


def _keep_precisions(model: Any, dtype: torch.dtype, own: StoredTensors | None) -> None:
    """Give parameters the dtypes of a checkpoint; raise `WholeOnly` for other mixed dtypes."""
    strict = getattr(model, "_keep_in_fp32_modules_strict", None)
    if own is None:
        if strict and dtype != torch.float32:
            raise WholeOnly(f"it keeps {', '.join(sorted(strict)[:3])} in fp32")
        return
    for name, parameter in model.named_parameters():
        if name in own:
            parameter.data = parameter.data.to(own.dtype(name))


def skeleton(source: Source, config: Any, dtype: torch.dtype, known: dict[str, Any]) -> Any:
    """Return the model with parameters on the meta device; no random number is drawn for them."""
    with _meta_parameters():
        model: Any = class_of(config).from_config(
            config, dtype=dtype, trust_remote_code=source.trusted, **known
        )
    return model


def _add_generation_config(model: Any, place: str) -> None:
    from transformers import GenerationConfig

    if not model.can_generate():
        return
    try:
        model.generation_config = GenerationConfig.from_pretrained(place)
    except OSError:
        model.generation_config = GenerationConfig.from_pretrained(
            place, config_file_name="config.json", _from_model_config=True
        )


@contextmanager
def _meta_parameters() -> Iterator[None]:
    """Move parameters to the meta device as modules register them; buffers stay in memory.

    With the whole model on the meta device, buffers such as rotary frequencies would have no
    values, and only transformers can compute them.
    """

    def to_meta(
        module: nn.Module, name: str, parameter: nn.Parameter | None
    ) -> nn.Parameter | None:
        del module, name
        if parameter is None or parameter.is_meta:  # a tied parameter stays the same object
            return None
        return nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()

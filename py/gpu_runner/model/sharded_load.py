"""A model of which each process reads only what it will hold.

    begin    built from its configuration: parameters without memory, buffers with theirs; and
             compared by name and shape with the files, as transformers would
    cut      by `World.shard`, as any other
    fill     row by row from the safetensors files, or from the shards of a checkpoint

To the last bit it is what `load` gives; what `load` refuses is refused in the same words. Where the
files cannot be read in part (`WholeOnly`), `load` is the way, and each process then holds all of
the model in the memory of its host before it keeps its part.
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
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gpu_runner.config.bounds import Precision
from gpu_runner.errors import CheckpointError
from gpu_runner.model import attention, custom_code
from gpu_runner.model.load import (
    DTYPES,
    Source,
    check_count,
    check_vocabulary,
    check_weights,
    read_config,
    read_json,
    readable_errors,
)
from gpu_runner.model.load import WEIGHTS as WEIGHT_FILES
from gpu_runner.world import as_sharded, local, rows_of
from gpu_runner.world.sharded_files import WEIGHTS, RowReader, StoredTensors


class WholeOnly(Exception):
    """A model must be read whole by each process; its text says why."""


@dataclass(frozen=True, slots=True)
class Take:
    """What makes some parameters.

    targets     their names in the model
    sources     (pattern of the rule, name in the files), in the library's order
    converter   the library's rule; None where one tensor is one parameter
    by_rows     whether row i of the parameter is made of the i-th tensor of each pattern
    """

    targets: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    converter: Any = None
    by_rows: bool = False

    def some(self, rows: range) -> Take:
        """The same for some rows of the parameter; only where it goes `by_rows`."""
        lists: dict[str, list[tuple[str, str]]] = {}
        for pattern, name in self.sources:
            lists.setdefault(pattern, []).append((pattern, name))
        chosen = [pair for pairs in lists.values() for pair in pairs[rows.start : rows.stop]]
        return replace(self, sources=tuple(chosen))

    def convert(self, model: Any, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Name → parameter, made of what `read` gives of the stored tensors."""
        rule = deepcopy(self.converter)
        for pattern, name in self.sources:
            rule.add_tensor(self.targets[0], name, pattern, read(name))
        made = rule.convert(self.targets[0], model=model, config=model.config)
        return {name: one[0] if isinstance(one, list) else one for name, one in made.items()}


def conversions(model: Any) -> list[Any]:
    """The library's rules for this model. Raises `WholeOnly` for a library that has others."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
    except ImportError as error:
        raise WholeOnly(f"this transformers converts in another way ({error})") from None
    found: list[Any] = get_model_conversion_mapping(model)
    return found


def takes(model: Any, stored: StoredTensors, rules: list[Any]) -> tuple[list[Take], dict[str, Any]]:
    """From what every weight is made, and what is missing, unexpected or mismatched.

    Raises `WholeOnly` where a rule cannot be tried without the tensors.
    """
    wanted: dict[str, Tensor] = model.state_dict()
    try:
        grouped, unexpected = _grouped(model, stored, rules, wanted)
        found = [_tried(take, model, stored) for take in grouped]
        if rules:  # else what is saved takes the names of a new model of its type
            model._weight_conversions = [rule for rule in rules if rule.was_used()]
    except Exception as error:  # whatever a library of another version does with its rules
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
    chosen, missing = _untied(
        model, stored, [take for take, _ in found], set(wanted) - shapes.keys()
    )
    report = {
        "missing_keys": _without(missing, model, "_keys_to_ignore_on_load_missing"),
        "unexpected_keys": _without(unexpected, model, "_keys_to_ignore_on_load_unexpected"),
        "mismatched_keys": mismatched,
    }
    return chosen, report


def _grouped(
    model: Any, stored: StoredTensors, rules: list[Any], wanted: dict[str, Tensor]
) -> tuple[list[Take], set[str]]:
    """What belongs together by the library's rules, and names that belong nowhere."""
    if not rules:
        plain = [Take((name,), ((name, name),)) for name in stored.names()]
        return [t for t in plain if t.targets[0] in wanted], set(stored.names()) - wanted.keys()
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
    return [Take((name,), tuple(found), rule) for name, (rule, found) in groups.items()], unexpected


def _tried(
    take: Take, model: Any, stored: StoredTensors
) -> tuple[Take, dict[str, tuple[int, ...]]]:
    """The same with all its targets, and their shapes: made once without memory."""
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
    return replace(take, targets=targets, by_rows=_goes_by_rows(take, shapes)), shapes


def _goes_by_rows(take: Take, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether tensors are stacked first of all, and joined across the rows of the stack only."""
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
    model: Any, stored: StoredTensors, found: list[Take], missing: set[str]
) -> tuple[list[Take], set[str]]:
    """One stored tensor for each parameter, and what is still missing.

    Tied parameters have several names, of which one is enough. Raises `WholeOnly` for files that
    hold both with other values: then they are not tied.
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


def _equal(stored: StoredTensors, one: Take, other: Take) -> bool:
    if one.converter is not None or other.converter is not None:
        return False
    with stored.reading() as reader:
        return torch.equal(reader.rows(one.sources[0][1]), reader.rows(other.sources[0][1]))


def _without(names: set[str], model: Any, attribute: str) -> set[str]:
    """Those that the library would complain of: not what the model's class says to pass over."""
    patterns = set(getattr(model, attribute, None) or ())
    if attribute.endswith("unexpected"):  # buffers that older files hold
        buffers = [name for name, _ in model.named_buffers()]
        if any(name.endswith("rotary_emb.inv_freq") for name in buffers):
            patterns.add(r"rotary_emb\.inv_freq")
        if any(name.endswith("position_ids") for name in buffers):
            patterns.add(r"(^|\.)position_ids$")
    return {name for name in names if not any(re.search(p, name) for p in patterns)}


def written_in_parts(place: Path) -> bool:
    """Whether a checkpoint holds shards of the weights, and not whole files."""
    return (place / WEIGHTS).is_dir()


@dataclass(slots=True)
class Share:
    """A model without weights, and from where each of them is to be read."""

    source: Source
    model: Any
    stored: StoredTensors
    takes: list[Take]

    def fill(self, device: torch.device) -> None:
        """Read what of each parameter is held here, from the files to `device` one at a time.

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
        """Any weight by its name, whole, in the model's precision; of a model that is not cut."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        of_target = {name: take for take in self.takes for name in take.targets}
        tied: dict[nn.Parameter, list[str]] = {}
        for name, parameter in parameters.items():
            tied.setdefault(parameter, []).append(name)
        with self.stored.reading() as reader:

            def whole_of(name: str) -> Tensor:
                same = tied[parameters[name]] if name in parameters else [name]
                there = next(other for other in same if other in of_target)
                with readable_errors(self.source, "weights"):
                    made = dict(self._read(of_target[there], reader, parameters))
                return made[there].to(parameters[name].dtype) if name in parameters else made[there]

            yield whole_of

    def _read(
        self, take: Take, reader: RowReader, parameters: dict[str, nn.Parameter]
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, the rows that are held here) of every parameter or buffer that `take` makes."""
        first = parameters.get(take.targets[0])
        if take.converter is None:
            wanted = slice(None) if first is None else rows_of(first)
            yield take.targets[0], reader.rows(take.sources[0][1], wanted)
            return
        assert first is not None  # a buffer is converted by nobody
        if take.by_rows:
            held = range(*rows_of(first).indices(first.shape[0]))
            if not held:
                yield take.targets[0], local(first).new_empty(local(first).shape, device="cpu")
                return
            chosen = take.some(held)
        else:
            chosen = take
        made = chosen.convert(self.model, lambda name: reader.rows(name).to(first.dtype))
        for name, tensor in made.items():
            rows = slice(None) if take.by_rows else rows_of(parameters[name])
            yield name, tensor[rows]


def begin(source: Source, tokenizer: Any, params: Precision) -> Share:
    """The model of `source` in `params` precision, trainable, in training mode, without weights.

    Raises `WholeOnly` where its files cannot be read in part, `ModelLoadError` as `load` does.
    """
    config, shape = read_config(source)
    check_vocabulary(source.name, len(tokenizer), config.vocab_size)
    place = Path(source.place)
    own = written_in_parts(place)
    files = sorted((place / WEIGHTS).glob("*.safetensors")) if own else _files(source)
    _refuse(source, config, files)
    known = attention.arguments_for(shape)
    with readable_errors(source, "weights"):
        model = _skeleton(source, config, DTYPES[params], known)
    try:
        stored = StoredTensors(files)
    except (OSError, SafetensorError, CheckpointError) as error:
        raise WholeOnly(str(error)) from None
    _keep_precisions(model, DTYPES[params], stored if own else None)
    found, report = takes(model, stored, [] if own else conversions(model))
    check_weights(source.name, report)
    if not source.trusted:
        custom_code.forget(model.config)
    model.requires_grad_(True)
    model.train()
    check_count(source.name, model, shape)
    return Share(source, model, stored, found)


def _files(source: Source) -> list[Path]:
    """The safetensors files that transformers would read; none where it would read others."""
    if source.kind == "gguf":
        return []
    one, index = WEIGHT_FILES[:2]
    if (found := _file(source, one)) is not None:
        return [found]
    if (found := _file(source, index)) is None:
        return []
    named = read_json(found).get("weight_map")
    names = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
    return [file for name in names if (file := _file(source, name)) is not None]


def _file(source: Source, name: str) -> Path | None:
    """A file of a model; from the hub it is fetched, once for all processes of a machine."""
    if source.kind == "hub":
        from transformers.utils.hub import cached_file

        with readable_errors(source, "weights"):
            found = cached_file(source.place, name, _raise_exceptions_for_missing_entries=False)
        return None if found is None else Path(found)
    path = Path(source.place) / name
    return path if path.is_file() else None


def _refuse(source: Source, config: Any, files: list[Path]) -> None:
    """Raise `WholeOnly` for what only `load` knows how to read, or to refuse."""
    reasons = {
        "its weights are no safetensors files": not files,
        "it is quantised": getattr(config, "quantization_config", None) is not None,
        "it brings code of its own": source.trusted and hasattr(config, custom_code.KEY),
        "it names files of its own": bool(
            getattr(config, "transformers_weights", None)
            or getattr(type(config), "extra_files", ())
        ),
    }
    if found := [reason for reason, true in reasons.items() if true]:
        raise WholeOnly(found[0])


def _keep_precisions(model: Any, dtype: torch.dtype, own: StoredTensors | None) -> None:
    """Those that a run had, if it goes on; else refuse a model that wants others than `dtype`."""
    strict = getattr(model, "_keep_in_fp32_modules_strict", None)
    if own is None:
        if strict and dtype != torch.float32:
            raise WholeOnly(f"it keeps {', '.join(sorted(strict)[:3])} in fp32")
        return
    for name, parameter in model.named_parameters():
        if name in own:
            parameter.data = parameter.data.to(own.dtype(name))


def _skeleton(source: Source, config: Any, dtype: torch.dtype, known: dict[str, Any]) -> Any:
    """The model with parameters on no device; of what is random in making it nothing is drawn."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    with _without_memory():
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=source.trusted, **known
        )
    if model.can_generate():
        try:
            model.generation_config = GenerationConfig.from_pretrained(source.place)
        except OSError:
            model.generation_config = GenerationConfig.from_pretrained(
                source.place, config_file_name="config.json", _from_model_config=True
            )
    return model


@contextmanager
def _without_memory() -> Iterator[None]:
    """Parameters that modules are given lose their memory at once; buffers keep theirs.

    All of a model on the meta device would leave its buffers, rotary frequencies say, without
    values, and only the library knows how to make them again.
    """

    def forget(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        del module, name
        if parameter is None or parameter.is_meta:  # a tied one stays the same
            return None
        return nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(forget)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()

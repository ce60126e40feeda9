"""Which stored tensors make which parameter: transformers' own names, without reading a tensor.

A file may say `h.0.attn` for `transformer.h.0.attn`, and hold one by one the experts that a layer
stacks. The library renames and converts while it loads; here its rules are asked for the
names alone, and tried on tensors without memory, so that a process may then read no more than the
rows it holds. Experts that are stacked along the first dimension, which is the one that is cut, are
read one by one; any other conversion is made of whole tensors, one parameter at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gpu_runner.world.shards import StoredTensors


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

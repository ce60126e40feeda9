"""A model that FSDP2 has cut over processes, copied so that its step can be taken without tensors.

What `fully_shard` did to the model is read off it, module by module, and done again to a copy of
the whole one, under fake tensors: same mesh, same precisions, same ways to let go of weights. So it
is FSDP2 itself that gathers, scatters and waits in the step that is foretold. Nothing is sent:
collectives of tensors that hold nothing are answered where they are called (the Meta kernels of
`c10d`), so one process may foretell while the others wait for it in their own step.

Names with an underscore are those of torch/distributed/fsdp/_fully_shard, torch 2.13. Where they
are others, nothing is foretold; what a loop is asked at every step is then answered as for a model
that is whole.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

Waiting = Literal["", "whole", "parts"]
"""What gradients wait for before the last micro-batch of a step: nothing; to be summed at all
(`set_requires_gradient_sync(False)`); to be summed over copies (`set_requires_all_reduce(False)`).
"""

_HOOKS: Final = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)
_SETTINGS: Final = (
    "reshard_after_backward",
    "unshard_in_backward",
    "unshard_async_op",
    "reduce_scatter_max_input_buffers",
    "reduce_scatter_unused_params",
    "gradient_divide_factor",
    "force_sum_reduction_for_comms",
)
"""Of a group of parameters, beside what `fully_shard` is given."""
_PREFETCHED: Final = ("_states_to_forward_prefetch", "_states_to_backward_prefetch")


@dataclass(frozen=True, slots=True)
class Double:
    """A copy of a model whose tensors hold nothing, and its parameter for each of the model's."""

    model: Any
    parameters: dict[int, Tensor]
    """id of a parameter of the model → the copy's."""


def units(model: Any) -> list[Any]:
    """What `fully_shard` keeps of each call to it, outer modules first; none of another model."""
    states = (m._get_fsdp_state() for m in model.modules() if isinstance(m, FSDPModule))
    return list({id(state): state for state in states}.values())


def obstacle(model: Any) -> str:
    """Why what a model in parts holds cannot be foretold, to be read after "because"; else ""."""
    known = {id(_now(one)) for one in _cut_parameters(model)}
    left = (p for p in model.parameters() if id(p) not in known)
    if any(isinstance(parameter, DTensor) for parameter in left):
        return "some are cut otherwise than by fully_shard"
    if any(len(_groups(state)) > 1 for state in units(model)):
        return "they lie on several meshes"
    return next(filter(None, map(_hindrance, _groups_of(model))), "")


def _hindrance(group: Any) -> str:
    own, mesh = group.fsdp_params, group.mesh_info
    away = group.device.type != "cpu" and any(one.offload_to_cpu for one in own)
    special = (hasattr(one._sharded_local_tensor, "fsdp_pre_all_gather") for one in own)
    told = {
        "they are copied and not cut (replicate)": not hasattr(mesh, "shard_mesh_size"),
        "some are cut twice, as by tensor parallelism": any(one.is_dtensor for one in own),
        "reshard_after_forward is a number": group.post_forward_mesh_info not in (None, mesh),
        "they wait in the memory of the host (CPUOffloadPolicy)": away,
        "they are gathered in a form of their own": any(special),
    }
    return next((why for why, found in told.items() if found), "")


def double_of(model: Any, mode: FakeTensorMode) -> Double:
    """A copy of `model` under fake tensors, in parts where it is."""
    states, memo = units(model), _begun(model, mode)
    with FakeCopyMode(mode):
        for module in model.modules():
            if isinstance(module, FSDPModule):  # which refuses to be copied as it is
                vars(memo[id(module)]).update(copy.deepcopy(_own(module), memo))
        double = copy.deepcopy(model, memo)
    meshes = [group.mesh_info.mesh for group in _groups_of(model)]
    with mode:
        for state in reversed(states):  # inner modules first, as `fully_shard` asks for
            own = [group.mesh_info.mesh for group in _groups(state)]
            _cut(state, [*own, *meshes][0], memo, double)
    for state in states:
        _settle(state, memo)
    pairs = {id(p): memo[id(p)] for p in model.parameters() if id(p) in memo}
    for one in _cut_parameters(model):
        place = one._module_info
        pairs[id(one.sharded_param)] = getattr(memo[id(place.module)], place.param_name)
    return Double(double, pairs)


def _begun(model: Any, mode: FakeTensorMode) -> dict[int, Any]:
    """What stands for modules and parameters that are cut, in the memory of `copy.deepcopy`:
    modules of their first class, still empty, and whole parameters. What FSDP2 keeps of them is not
    copied, whoever may still point to it (a handle of another's hook knows its neighbours).
    """
    memo: dict[int, Any] = {id(state): state for state in units(model)}
    for module in model.modules():
        if isinstance(module, FSDPModule):
            kind: Any = type(module).__mro__[getattr(module, "_orig_cls_mro_index", 2)]
            memo[id(module)] = kind.__new__(kind)
    for one in _cut_parameters(model):
        part = one.sharded_param
        with mode:
            empty = torch.empty(one._orig_size, dtype=part.dtype, device=one.device)
            whole = nn.Parameter(empty, requires_grad=part.requires_grad)
        memo |= {id(part): whole, id(_now(one)): whole}
    return memo


def _own(module: FSDPModule) -> dict[str, Any]:
    """All that a module is made of, but what `fully_shard` added to it."""
    state = module._get_fsdp_state()
    handles = {
        handle.id
        for one in (state._pre_forward_hook_handle, state._post_forward_hook_handle)
        for handle in getattr(one, "handles", (one,))
    }
    found = dict(vars(module))
    for name in _HOOKS:
        kept = ((key, hook) for key, hook in found[name].items() if key not in handles)
        found[name] = type(found[name])(kept)
    for name, value in found.items():  # in some PyTorch remembers calls like that one
        if isinstance(value, dict) and any(_remembers(one, state) for one in value.items()):
            kept = (one for one in value.items() if not _remembers(one, state))
            found[name] = type(value)(kept)
    return found


def _remembers(item: tuple[Any, Any], state: Any) -> bool:
    return item[0] == fully_shard.__name__ or item[1] is state


def _cut(state: Any, mesh: Any, memo: dict[int, Any], double: Any) -> None:
    """Do to the copy what was done to the modules of `state`."""
    modules = [memo[id(module)] for module in state._modules]
    own = (one for group in _groups(state) for one in group.fsdp_params)
    placements = {id(memo[id(one.sharded_param)]): one.fsdp_placement for one in own}
    fully_shard(
        modules if len(modules) > 1 else modules[0],
        mesh=mesh,
        reshard_after_forward=_reshards(state),
        shard_placement_fn=lambda parameter: placements[id(parameter)],
        mp_policy=state._mp_policy,
        ignored_params={p for p in double.parameters() if id(p) not in placements},
    )


def _reshards(state: Any) -> bool | None:
    """What `reshard_after_forward` was given, or set to later."""
    if state._auto_reshard_after_forward:
        return None
    return all(group.post_forward_mesh_info is not None for group in _groups(state))


def _settle(state: Any, memo: dict[int, Any]) -> None:
    """What was set after `fully_shard`."""
    theirs = _state_of(state, memo)
    for group, other in zip(_groups(state), _groups(theirs), strict=True):
        for name in _SETTINGS:
            if hasattr(group, name):
                setattr(other, name, getattr(group, name))
    for name in _PREFETCHED:
        setattr(theirs, name, [_state_of(one, memo) for one in getattr(state, name)])


def _state_of(state: Any, memo: dict[int, Any]) -> Any:
    return memo[id(state._modules[0])]._get_fsdp_state()


def described(model: Any) -> list[Any]:
    """How a model is cut, as far as what a step holds follows from it."""
    names = {id(module): name for name, module in model.named_modules()}
    return [
        [
            [names[id(module)] for module in state._modules],
            [list(group.mesh_info.mesh.shape), group.mesh_info.shard_mesh_rank],
            [_reshards(state), str(state._mp_policy)],
            [[getattr(group, name, None) for name in _SETTINGS], _prefetched(state, names)],
            [_name(one, names) for one in group.fsdp_params],
        ]
        for state in units(model)
        for group in _groups(state)
    ]


def _name(one: Any, names: dict[int, str]) -> str:
    return f"{names[id(one._module_info.module)]}.{one._module_info.param_name}"


def _prefetched(state: Any, names: dict[int, str]) -> list[list[str]]:
    return [[names[id(one._modules[0])] for one in getattr(state, name)] for name in _PREFETCHED]


def waiting(model: Any) -> Waiting:
    """What gradients of a backward pass that begins now will wait for."""
    try:
        sums = [(group.reduce_grads, group.all_reduce_grads) for group in _groups_of(model)]
    except AttributeError:  # names of another FSDP2
        return ""
    if not all(at_all for at_all, _ in sums):
        return "whole"
    return "" if all(over_copies for _, over_copies in sums) else "parts"


def wait(model: Any, what: Waiting) -> None:
    """Let gradients of the backward passes to come wait for that."""
    for group in _groups_of(model):
        group.reduce_grads, group.all_reduce_grads = what != "whole", not what


def gathered_now(model: Any) -> list[Any]:
    """FSDP2's parameters that are whole at this moment, beside the part that is kept."""
    try:
        return [one for one in _cut_parameters(model) if _now(one) is not one.sharded_param]
    except AttributeError:  # names of another FSDP2
        return []


def let_go(model: Any, but: list[Any]) -> None:
    """What is gathered just now is let go of, `but` what was before: after a pass of our own."""
    kept = {id(one) for one in but}
    for group in _groups_of(model):
        if not any(id(one) in kept for one in group.fsdp_params):
            group.reshard()


class Owned:
    """A model as its optimizer has it: of what is gathered just now, the part that stays."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Of each parameter what this process owns."""
        parts = {id(_now(one)): one.sharded_param for one in gathered_now(self._model)}
        yield from ((name, parts.get(id(p), p)) for name, p in self._model.named_parameters())

    def parameters(self) -> Iterator[Tensor]:
        """The same without names."""
        yield from (parameter for _, parameter in self.named_parameters())

    def buffers(self) -> Iterator[Tensor]:
        """As they are."""
        yield from self._model.buffers()

    def get_output_embeddings(self) -> Any:
        """The head, where the model knows one."""
        own = getattr(self._model, "get_output_embeddings", None)
        return None if own is None else own()


def _groups(state: Any) -> list[Any]:
    """The groups of parameters of one call: none where it had nothing left to cut."""
    several = getattr(state, "_fsdp_param_groups", None)
    found = [state._fsdp_param_group] if several is None else several
    return [group for group in found if group is not None]


def _groups_of(model: Any) -> list[Any]:
    return [group for state in units(model) for group in _groups(state)]


def _cut_parameters(model: Any) -> list[Any]:
    return [one for group in _groups_of(model) for one in group.fsdp_params]


def _now(one: Any) -> Tensor:
    """The parameter that stands in the module at this moment: whole or in part."""
    found: Tensor = one._module_info.module._parameters[one._module_info.param_name]
    return found

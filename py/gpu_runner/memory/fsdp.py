"""A model sharded by FSDP2, copied so that its step can be traced without memory.

What `fully_shard` did to the model is read module by module and repeated on a copy of the whole
model under fake tensors: same mesh, same mixed precision, same resharding. So FSDP2's own code
gathers, scatters and waits in the traced step. Nothing is sent: the Meta kernels of `c10d` answer
collectives of fake tensors, so one process can trace while the others wait for it in their step.

Names with an underscore are those of torch/distributed/fsdp/_fully_shard in torch 2.13. Where they
differ, nothing is predicted, and what is asked at every step is answered as for an unsharded model.
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

DeferredSync = Literal["", "gradient_sync", "all_reduce"]
"""The gradient reduction that is deferred to the last micro-batch of a step: none; all of it
(`set_requires_gradient_sync(False)`); only that over replicas (`set_requires_all_reduce(False)`).
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
"""Attributes of a parameter group that are not arguments of `fully_shard`."""
_PREFETCHED: Final = ("_states_to_forward_prefetch", "_states_to_backward_prefetch")


@dataclass(frozen=True, slots=True)
class ModelCopy:
    """A copy of a model with fake tensors, and its parameter for each one of the model."""

    model: Any
    parameters: dict[int, Tensor]
    """id of a parameter of the model → the parameter of the copy."""


def fsdp_states(model: Any) -> list[Any]:
    """Return FSDP2's state of each call of `fully_shard`, outer modules first."""
    states = (m._get_fsdp_state() for m in model.modules() if isinstance(m, FSDPModule))
    return list({id(state): state for state in states}.values())


def find_obstacle(model: Any) -> str:
    """Return why the step of a sharded model cannot be predicted, to follow "because"; else ""."""
    sharded = {id(_current(one)) for one in _sharded_parameters(model)}
    others = (p for p in model.parameters() if id(p) not in sharded)
    if any(isinstance(parameter, DTensor) for parameter in others):
        return "some are sharded by something other than fully_shard"
    if any(len(_groups(state)) > 1 for state in fsdp_states(model)):
        return "they are on several meshes"
    return next(filter(None, map(_group_obstacle, _all_groups(model))), "")


def _group_obstacle(group: Any) -> str:
    own, mesh = group.fsdp_params, group.mesh_info
    offloads = group.device.type != "cpu" and any(one.offload_to_cpu for one in own)
    special = (hasattr(one._sharded_local_tensor, "fsdp_pre_all_gather") for one in own)
    obstacles = {
        "they are replicated, not sharded (replicate)": not hasattr(mesh, "shard_mesh_size"),
        "some are sharded twice, as by tensor parallelism": any(one.is_dtensor for one in own),
        "reshard_after_forward is a number": group.post_forward_mesh_info not in (None, mesh),
        "they are offloaded to the CPU (CPUOffloadPolicy)": offloads,
        "they are gathered in a custom format (fsdp_pre_all_gather)": any(special),
    }
    return next((why for why, found in obstacles.items() if found), "")


def copy_model(model: Any, mode: FakeTensorMode) -> ModelCopy:
    """Return a copy of `model` with fake tensors, without gradients, sharded where `model` is."""
    states, memo = fsdp_states(model), _start_memo(model, mode)
    with FakeCopyMode(mode):
        for module in model.modules():
            if isinstance(module, FSDPModule):  # FSDP2 refuses to deepcopy it
                vars(memo[id(module)]).update(copy.deepcopy(_own_attributes(module), memo))
        copied = copy.deepcopy(model, memo)
    meshes = [group.mesh_info.mesh for group in _all_groups(model)]
    with mode:
        for state in reversed(states):  # inner modules first, as `fully_shard` requires
            own = [group.mesh_info.mesh for group in _groups(state)]
            _shard_copy(state, [*own, *meshes][0], memo, copied)
    for state in states:
        _copy_settings(state, memo)
    pairs = {id(p): memo[id(p)] for p in model.parameters() if id(p) in memo}
    for one in _sharded_parameters(model):
        place = one._module_info
        pairs[id(one.sharded_param)] = getattr(memo[id(place.module)], place.param_name)
    return ModelCopy(copied, pairs)


def _start_memo(model: Any, mode: FakeTensorMode) -> dict[int, Any]:
    """Return the memo for `copy.deepcopy`: what replaces sharded modules and parameters.

    These are empty modules of the original class and whole parameters. FSDP2's own state is not
    copied, even where other objects refer to it (hook handles know their neighbours).
    """
    memo: dict[int, Any] = {id(state): state for state in fsdp_states(model)}
    for module in model.modules():
        if isinstance(module, FSDPModule):
            kind: Any = type(module).__mro__[getattr(module, "_orig_cls_mro_index", 2)]
            memo[id(module)] = kind.__new__(kind)
    for one in _sharded_parameters(model):
        part = one.sharded_param
        with mode:
            empty = torch.empty(one._orig_size, dtype=part.dtype, device=one.device)
            whole = nn.Parameter(empty, requires_grad=part.requires_grad)
        memo |= {id(part): whole, id(_current(one)): whole}
    return memo


def _own_attributes(module: FSDPModule) -> dict[str, Any]:
    """Return the attributes of a module without those that `fully_shard` added."""
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
    for name, value in found.items():  # PyTorch records such calls in some of them
        if isinstance(value, dict) and any(_is_record(one, state) for one in value.items()):
            kept = (one for one in value.items() if not _is_record(one, state))
            found[name] = type(value)(kept)
    return found


def _is_record(item: tuple[Any, Any], state: Any) -> bool:
    return item[0] == fully_shard.__name__ or item[1] is state


def _shard_copy(state: Any, mesh: Any, memo: dict[int, Any], copied: Any) -> None:
    """Call `fully_shard` on the copy as it was called on the modules of `state`."""
    modules = [memo[id(module)] for module in state._modules]
    own = (one for group in _groups(state) for one in group.fsdp_params)
    placements = {id(memo[id(one.sharded_param)]): one.fsdp_placement for one in own}
    fully_shard(
        modules if len(modules) > 1 else modules[0],
        mesh=mesh,
        reshard_after_forward=_reshards(state),
        shard_placement_fn=lambda parameter: placements[id(parameter)],
        mp_policy=state._mp_policy,
        ignored_params={p for p in copied.parameters() if id(p) not in placements},
    )


def _reshards(state: Any) -> bool | None:
    """Return the value of `reshard_after_forward`, as given or set later."""
    if state._auto_reshard_after_forward:
        return None
    return all(group.post_forward_mesh_info is not None for group in _groups(state))


def _copy_settings(state: Any, memo: dict[int, Any]) -> None:
    """Copy what was set after the call of `fully_shard`."""
    theirs = _state_of(state, memo)
    for group, other in zip(_groups(state), _groups(theirs), strict=True):
        for name in _SETTINGS:
            if hasattr(group, name):
                setattr(other, name, getattr(group, name))
    for name in _PREFETCHED:
        setattr(theirs, name, [_state_of(one, memo) for one in getattr(state, name)])


def _state_of(state: Any, memo: dict[int, Any]) -> Any:
    return memo[id(state._modules[0])]._get_fsdp_state()


def describe_sharding(model: Any) -> list[Any]:
    """Return how a model is sharded, as far as the memory of a step depends on it."""
    names = {id(module): name for name, module in model.named_modules()}
    return [
        [
            [names[id(module)] for module in state._modules],
            [list(group.mesh_info.mesh.shape), group.mesh_info.shard_mesh_rank],
            [_reshards(state), str(state._mp_policy)],
            [[getattr(group, name, None) for name in _SETTINGS], _prefetched(state, names)],
            [_name(one, names) for one in group.fsdp_params],
        ]
        for state in fsdp_states(model)
        for group in _groups(state)
    ]


def _name(one: Any, names: dict[int, str]) -> str:
    return f"{names[id(one._module_info.module)]}.{one._module_info.param_name}"


def _prefetched(state: Any, names: dict[int, str]) -> list[list[str]]:
    return [[names[id(one._modules[0])] for one in getattr(state, name)] for name in _PREFETCHED]


def deferred_sync(model: Any) -> DeferredSync:
    """Return which gradient reduction a backward pass that begins now will defer."""
    try:
        flags = [(group.reduce_grads, group.all_reduce_grads) for group in _all_groups(model)]
    except AttributeError:  # another version of FSDP2
        return ""
    if not all(reduces for reduces, _ in flags):
        return "gradient_sync"
    return "" if all(all_reduces for _, all_reduces in flags) else "all_reduce"


def defer_sync(model: Any, deferred: DeferredSync) -> None:
    """Set which gradient reduction the following backward passes defer."""
    for group in _all_groups(model):
        group.reduce_grads, group.all_reduce_grads = deferred != "gradient_sync", not deferred


def gathered_parameters(model: Any) -> list[Any]:
    """Return FSDP2's parameters that are gathered at this moment."""
    try:
        return [one for one in _sharded_parameters(model) if _current(one) is not one.sharded_param]
    except AttributeError:  # another version of FSDP2
        return []


def reshard_all_except(model: Any, exceptions: list[Any]) -> None:
    """Reshard the gathered parameters except those given, as after a forward pass of our own."""
    kept = {id(one) for one in exceptions}
    for group in _all_groups(model):
        if not any(id(one) in kept for one in group.fsdp_params):
            group.reshard()


class ShardView:
    """A model as its optimizer sees it: of parameters that are gathered now, only the shard."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the shard of each parameter that this process owns."""
        parts = {id(_current(one)): one.sharded_param for one in gathered_parameters(self._model)}
        yield from ((name, parts.get(id(p), p)) for name, p in self._model.named_parameters())

    def parameters(self) -> Iterator[Tensor]:
        """Yield the same without names."""
        yield from (parameter for _, parameter in self.named_parameters())

    def buffers(self) -> Iterator[Tensor]:
        """Yield the buffers of the model."""
        yield from self._model.buffers()

    def get_output_embeddings(self) -> Any:
        """Return the head; None where the model has no such method."""
        own = getattr(self._model, "get_output_embeddings", None)
        return None if own is None else own()


def _groups(state: Any) -> list[Any]:
    """Return the parameter groups of one call: none where it had nothing left to shard."""
    several = getattr(state, "_fsdp_param_groups", None)
    found = [state._fsdp_param_group] if several is None else several
    return [group for group in found if group is not None]


def _all_groups(model: Any) -> list[Any]:
    return [group for state in fsdp_states(model) for group in _groups(state)]


def _sharded_parameters(model: Any) -> list[Any]:
    return [one for group in _all_groups(model) for one in group.fsdp_params]


def _current(one: Any) -> Tensor:
    """Return the parameter that the module has at this moment: gathered or the shard."""
    found: Tensor = one._module_info.module._parameters[one._module_info.param_name]
    return found

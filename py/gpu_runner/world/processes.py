"""The processes that train together: who is the first, what is added up, what each one holds.

    unfrozen train …                                          a world of one: nothing is sent
    torchrun --nproc-per-node 8 -m gpu_runner train …         FSDP2: each holds an 8th of everything

Fully sharded data parallelism (ZeRO stage 3, arXiv 1910.02054; PyTorch FSDP, arXiv 2304.11277): the
parameters, gradients and moments of every block are cut into rows, one part a process. A block is
gathered when it computes and freed afterwards; its gradients are added up in fp32 where their
part lives. The step divides by the trainable tokens of all processes, so gradients are summed,
never averaged.

With fewer parts than processes (HSDP: `shard_size`, say the GPUs of one machine) each group of so
many holds a copy of the whole; gradients are scattered within a group, then added up over the
groups.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta

from gpu_runner.errors import RunnerError, SystemFailure, UsageError, everyones
from gpu_runner.errors import is_lost_process as lost
from gpu_runner.world.peers import Peer, Peers, end_soon


def local(tensor: Tensor) -> Tensor:
    """Return this process's shard of `tensor`; of a tensor that is not sharded, all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_cut(model: Any) -> bool:
    """Return whether any parameter of a model is sharded."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def full_tensor(tensor: Tensor) -> Tensor:
    """Return the full tensor of which `tensor` is a shard; every process must call this."""
    if not isinstance(tensor, DTensor):
        return tensor
    there = tensor.device_mesh.device_type  # only there can the processes send it
    if local(tensor).device.type == there:
        return tensor.full_tensor()
    return full_tensor(as_sharded(tensor, local(tensor).to(there)))


def group_of(parameter: Tensor) -> dist.ProcessGroup | None:
    """The processes that hold one copy of `parameter` together; None where it is not cut."""
    if not isinstance(parameter, DTensor):
        return None
    mesh = parameter.device_mesh
    group: dist.ProcessGroup = mesh.get_group(mesh.ndim - 1)
    return group


def added(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Reduce `tensor` in place over the processes that hold shards of `parameter`; return it."""
    if (group := group_of(parameter)) is not None:
        dist.all_reduce(tensor, group=group)
    return tensor


def part_and_count(parameter: Tensor) -> tuple[int, int]:
    """Return (index of this process's shard, number of shards); (0, 1) if it is not sharded."""
    if not isinstance(parameter, DTensor):
        return 0, 1
    mesh = parameter.device_mesh
    return mesh.get_local_rank(mesh.ndim - 1), mesh.size(mesh.ndim - 1)


def is_replica(parameter: Tensor) -> bool:
    """Return whether a process before this one has the same shard."""
    if not isinstance(parameter, DTensor) or parameter.device_mesh.ndim == 1:
        return False
    return parameter.device_mesh.get_local_rank(0) > 0


def rows_of(parameter: Tensor, part: int | None = None) -> slice:
    """Return which rows of the full parameter this process has, or the one with shard `part`.

    All of them if it is not sharded.
    """
    if not isinstance(parameter, DTensor):
        return slice(None)
    mine, parts = part_and_count(parameter)
    rows = parameter.shape[0]
    each = -(-rows // parts)  # as torch.chunk: the last parts may be short or empty
    number = mine if part is None else part
    return slice(min(number * each, rows), min((number + 1) * each, rows))


def first_index(parameter: Tensor) -> int:
    """Return the place in the whole parameter, row by row, of this process's first element."""
    row = parameter.numel() // max(1, parameter.shape[0]) if parameter.ndim else 1
    return (rows_of(parameter).start or 0) * row


def as_sharded(parameter: Tensor, part: Tensor) -> Tensor:
    """Return `part`, this process's rows of `parameter`, as a tensor sharded like it.

    It stays where it is, also in CPU memory beside a parameter on a GPU, as FSDP keeps weights that
    it offloads; `from_local` would move it to the devices of the mesh.
    """
    if not isinstance(parameter, DTensor):
        return part
    if part.device.type != parameter.device_mesh.device_type:
        meta = TensorMeta(parameter.shape, parameter.stride(), part.dtype)
        spec = DTensorSpec(parameter.device_mesh, parameter.placements, meta)
        return DTensor(part, spec, requires_grad=False)
    return DTensor.from_local(
        part,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def shard_like(parameter: Tensor, full: Tensor) -> Tensor:
    """`full`, of the parameter's shape, cut and as_sharded like the parameter.

    A part is a copy: a view of it would keep all of `full` in memory.
    """
    if not isinstance(parameter, DTensor):
        return full.to(parameter.device)
    part = full[rows_of(parameter)].to(parameter.device, copy=True).contiguous()
    return as_sharded(parameter, part)


SECONDS: Final = 20.0
"""The time that a process waits for the others."""
_YES, _NO = "yes", "no"
_numbers = count()


class Rendezvous:
    """One series of points that processes may come to together.

    Processes that make as many of these have the same ones; each call of `wait_for_all` is a point.
    """

    def __init__(self) -> None:
        groups: Any = dist.distributed_c10d
        name = f"unfrozen/meeting/{next(_numbers)}"
        self._store = groups.PrefixStore(name, groups._get_default_store())
        self._points = count()
        self._over = False

    def wait_for_all(self, seconds: float = SECONDS) -> bool:
        """Come to the next point: whether all do, the same on each. After a no it is always no."""
        if self._over:
            return False
        point = next(self._points)
        self._store.set(f"{point}/{dist.get_rank()}", "")
        everyone = [f"{point}/{rank}" for rank in range(dist.get_world_size())]
        try:
            self._store.wait(everyone, timedelta(seconds=seconds))
            answer = _YES
        except RuntimeError:  # DistStoreError: the time is over, or the store is gone
            answer = _NO
        decision = self._store.compare_set(f"{point}/answer", "", answer).decode()
        self._over = decision != _YES
        return not self._over


T = TypeVar("T")
PATIENCE: Final = timedelta(
    minutes=30
)  # for the slowest process, and for a checkpoint to be written


class Root(nn.Module):
    """Runs any function of the model while the parameters outside the blocks are gathered.

    A loss reads the head's weight, a generation calls the model again and again: both are functions
    of the model, and only the forward pass of the outermost module gathers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(model, …)`."""
        return function(self.model, *arguments)


@dataclass(slots=True)
class World:
    """`size` processes of which this is number `rank`; the default is this one alone."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    parts: int = 1
    """Into how many parts a model is cut: `size`, or fewer where there are copies of it."""
    peers: Peers | None = None
    """The other processes, looked at; None alone."""
    _mesh: Any = None
    _root: Root | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes the log, the terminal and the checkpoints."""
        return self.rank == 0

    def shard(self, model: Any, compute: torch.dtype | None) -> None:
        """Cut every parameter of `model` into `parts`, block by block; alone, nothing happens.

        `compute` is the precision blocks are gathered in (None: that of the parameters); gradients
        are reduced in fp32. A model that is cut already stays as it is.
        """
        if self.size == 1 or any(local(p) is not p for p in model.parameters()):
            return
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
        encoders = frozen_modules(model)  # apart, or each step would gather them for nothing
        for unit in (*blocks_of(model), *untied_ends(model), *encoders):
            fully_shard(unit, mesh=self._mesh, mp_policy=policy)
        root = Root(model)
        # After a forward pass too, or what is seen between steps would depend on what ran last.
        fully_shard(root, mesh=self._mesh, mp_policy=policy, reshard_after_forward=True)
        for module in root.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sum
        self._root = root

    def run(self, function: Callable[..., T], model: Any, *arguments: Any) -> T:
        """`function(model, …)` with the model's weights in reach; all processes call it alike."""
        if self._root is None:
            return function(model, *arguments)
        result: T = self._root(function, *arguments)
        return result

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all processes, on each of them; alone, the tensor itself."""
        if self.size == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total

    def norm(self, part: Tensor) -> Tensor:
        """√Σ part² over one copy's processes: the norm of a vector of which each holds a part."""
        if self.size == 1:
            return part
        square = part.square().to(self.device)
        dist.all_reduce(square, group=self._mesh.get_group(self._mesh.ndim - 1))
        return square.sqrt()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Which of them are true on any process: all of them must then do the same."""
        if self.size == 1:
            return flags
        counts = self.sum(torch.tensor(flags, dtype=torch.float32, device=self.device))
        return tuple(count > 0 for count in counts.tolist())

    def on_first(self, function: Callable[[], T]) -> T:
        """Return on every process what `function` returns on the first; its error is everyone's.

        Of an error that is no `RunnerError` the others raise a `SystemFailure` with its text: it is
        raised as it is where it happened, and nobody waits for an answer that never comes.
        """
        if self.size == 1:
            return function()
        answer: list[Any] = [None, None]
        unforeseen: Exception | None = None
        if self.first:
            try:
                with nullcontext() if self.peers is None else self.peers.working():
                    answer[0] = function()
            except RunnerError as error:
                answer[1] = (type(error), str(error))
            except Exception as error:
                unforeseen = error
                text = f"the first process failed: {type(error).__name__}: {error}"
                answer[1] = (SystemFailure, text)
        dist.broadcast_object_list(answer, src=0)
        if unforeseen is not None:
            raise unforeseen
        if answer[1] is not None:
            kind, text = answer[1]
            raise everyones(kind(text))
        result: T = answer[0]
        return result

    def everyones(self, mine: T) -> list[T]:
        """Return the things of all processes, in their order: small ones, which are pickled."""
        if self.size == 1:
            return [mine]
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, mine)
        return everyone

    def agree(self, mine: Mapping[str, object]) -> None:
        """Refuse to go on where processes differ in what they name. Raises `UsageError` on all."""
        first, *others = self.everyones(dict(mine))
        for rank, other in enumerate(others, 1):
            for name in first:
                if first[name] != other[name]:
                    text = (
                        f"process 0 and process {rank} differ in {name}: {first[name]!r} and"
                        f" {other[name]!r}. Start all of them with the same settings and files."
                    )
                    raise everyones(UsageError(text))

    def own_random_states(self) -> dict[str, Tensor]:
        """The state of this process's random numbers, by name."""
        end = f".{self.rank}" if self.rank else ""
        found = {f"rng.cpu{end}": torch.get_rng_state()}
        if self.device.type == "cuda":
            found[f"rng.cuda{end}"] = torch.cuda.get_rng_state(self.device)
        return found

    def random_states(self) -> dict[str, Tensor]:
        """Return the same of every process; only on the first one."""
        everyone = self.everyones(self.own_random_states())
        return {name: state for found in everyone for name, state in found.items() if self.first}

    def restore_random_states(self, states: Mapping[str, Tensor]) -> None:
        """The inverse; a process that was not there before keeps the state it has."""
        end = f".{self.rank}" if self.rank else ""
        if (cpu := states.get(f"rng.cpu{end}")) is not None:
            torch.set_rng_state(cpu)
        if (cuda := states.get(f"rng.cuda{end}")) is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(cuda, self.device)

    def check(self, grad_accum: int) -> None:
        """Refuse micro-batches that do not divide evenly. Raises `UsageError`."""
        if grad_accum % self.size:
            fitting = -(-grad_accum // self.size) * self.size
            raise everyones(
                UsageError(
                    f"--grad-accum {grad_accum} micro-batches cannot be divided evenly among"
                    f" {self.size} processes: give a multiple of {self.size}, say --grad-accum"
                    f" {fitting}. It counts the micro-batches of all of them together, so that the"
                    " number of GPUs never changes the result."
                )
            )

    def close(self) -> None:
        """Leave the others in order: without it, gloo aborts when Python ends."""
        if self.size > 1:
            self._root = self._mesh = None
            if self.peers is not None:
                self.peers.leave()
            if dist.is_initialized():
                dist.destroy_process_group()

    def fail(self, error: BaseException) -> None:
        """Leave because of an error: the others are told, and no kernel is waited for.

        NCCL would wait for kernels that wait for the others: its communicators are aborted.
        """
        if self.peers is not None and not (getattr(error, "shared", False) or lost(error)):
            self.peers.fail(error)
        if self.device.type == "cuda" and dist.is_initialized():
            self._root = self._mesh = None
            end_soon()
            with suppress(Exception):  # the error that is raised already says more
                dist.distributed_c10d._abort_process_group()
        self.close()


def join(device: torch.device, parts: int | None = None) -> World:
    """The world that torchrun has set up around this process, or a world of one.

    A model is cut into so many `parts`, or as many as there are processes. Raises `UsageError` for
    torchrun's variables without sense and for parts that are too many, `SystemFailure` when the
    others do not come.
    """
    try:
        size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        gpu = int(os.environ.get("LOCAL_RANK", "0"))
    except ValueError as error:
        raise UsageError(
            f"WORLD_SIZE, RANK or LOCAL_RANK is no number ({error}): start with torchrun."
        ) from None
    if size == 1:
        return World(device=device)
    parts = _parts(parts or size, size)
    if device.type == "cuda":
        if gpu >= torch.cuda.device_count():
            raise SystemFailure(
                f"process {gpu} of this machine has no GPU of its own: PyTorch sees"
                f" {torch.cuda.device_count()}. Give torchrun --nproc-per-node at most that."
            )
        torch.cuda.set_device(gpu)
        device = torch.device("cuda", gpu)
    try:
        on_gpu = device.type == "cuda"
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", timeout=PATIENCE, device_id=device if on_gpu else None
        )
        shape, names = (
            ((size,), ("part",)) if parts == size else ((size // parts, parts), ("copy", "part"))
        )
        mesh = dist.device_mesh.init_device_mesh(device.type, shape, mesh_dim_names=names)
        everyone: list[Any] = [None] * size
        dist.all_gather_object(everyone, Peer.this())
    except (RuntimeError, ValueError) as error:
        raise SystemFailure(
            f"process {rank} of {size} found no way to the others"
            f" ({os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}): {error}"
        ) from None
    groups: Any = dist.distributed_c10d
    store = groups.PrefixStore("unfrozen/peers", groups._get_default_store().clone())
    peers = Peers(rank, everyone, store)
    return World(rank, size, device, parts, peers, mesh)


def _parts(asked: int, size: int) -> int:
    """Return as many as were asked for, if every copy can have as many processes."""
    if size % asked == 0:
        return asked
    fitting = ", ".join(str(each) for each in range(2, size + 1) if size % each == 0)
    text = (
        f"shard_size {asked}: every copy of the model takes as many processes, and there are"
        f" {size}. Start a multiple of {asked}, or give it as one of {fitting}."
    )
    raise everyones(UsageError(text))


def language_weights(model: Any) -> set[nn.Parameter]:
    """Return the parameters of what reads and writes text: of a model that sees or hears, some."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    parts = [model] if text is config else [model.get_decoder(), model.get_output_embeddings()]
    towers = {p for tower in _towers(model, model) for p in tower.parameters()} if config else {}
    return {p for part in parts if part is not None for p in part.parameters() if p not in towers}


def _towers(module: nn.Module, model: Any) -> Iterator[nn.Module]:
    """Yield the outermost modules that hold an encoder of other than text, and neither end of it.

    What an encoder takes is what its class in transformers declares.
    """
    for child in module.children():
        inside = set(child.modules())
        if any("text" not in getattr(one, "input_modalities", "text") for one in inside):
            ends = {model.get_input_embeddings(), model.get_output_embeddings()}
            yield from _towers(child, model) if ends & inside else (child,)


def freeze_encoders(model: Any) -> None:
    """Make the language model trainable, and nothing beside it: encoders of pictures or sounds."""
    model.requires_grad_(False)
    for weight in language_weights(model):
        weight.requires_grad_(True)


def trained_weights(model: Any) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; tied ones once."""
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def frozen_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules of which no parameter is trained."""
    for child in module.children():
        trained = {parameter.requires_grad for parameter in child.parameters()}
        if trained == {False} and not isinstance(child, nn.ModuleList):
            yield child
        elif trained:
            yield from frozen_modules(child)


def blocks_of(model: Any) -> list[nn.Module]:
    """The blocks of a language model: the longest list of modules that are trained."""
    modules = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    lists = [one for one in modules if any(p.requires_grad for p in one.parameters())]
    longest = max(lists, key=len, default=None)
    return list(longest) if longest is not None else []


def untied_ends(model: Any) -> list[nn.Module]:
    """Embedding and head, where each has weights of its own.

    Gathered one by one they are not in the way of what lies between them, and the gradient of the
    head, the first of all, need not wait for that of the embedding, the last.
    """
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    if None in ends or ends[0].weight is ends[1].weight:
        return []
    return ends

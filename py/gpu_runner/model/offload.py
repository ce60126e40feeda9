"""Activation offload: tensors saved for backward wait in CPU memory, copied while the GPU computes.

Copies run on a stream of their own. A tensor stays on the GPU until its copy is complete, and is
copied back before backward needs it; in either direction at most as many bytes are in flight as two
layers save, measured in the pass before (the first pass waits for each copy). No tensor is recorded
on the second stream, so that the allocator frees memory in program order.

In CPU memory, tensors are slices of large blocks that are allocated once: PyTorch rounds pinned
allocations up to a power of two, the size of these blocks, and a tensor may span several.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from gpu_runner.world import blocks_of

LEAST_BYTES: Final = 1 << 16  # smaller tensors are not offloaded
BLOCK_BYTES: Final = 1 << 28
ALIGNMENT: Final = 512
LAYERS: Final = 2  # in flight, as `unfrozen.memory` counts them

Copy = tuple[Tensor, Tensor]
"""Destination and source."""


class CopyStream(Protocol):
    """Copies between a device and the CPU, completed in the order in which they start."""

    def start(self, copies: Sequence[Copy]) -> Any:
        """Copy after all computation so far; return an event for `wait`."""

    def wait(self, event: Any) -> None:
        """Let computation from now on wait for the copies of `event`."""


class CpuCopies:
    """Copies within CPU memory, complete as soon as they start."""

    def start(self, copies: Sequence[Copy]) -> None:
        """Copy now."""
        for destination, source in copies:
            destination.copy_(source)

    def wait(self, event: None) -> None:
        """Do nothing: all copies are complete."""


class CudaCopies:
    """Copies on a CUDA stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def start(self, copies: Sequence[Copy]) -> torch.cuda.Event:
        """Copy on the stream, after what is queued on the current one."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for destination, source in copies:
                destination.copy_(source, non_blocking=True)
        event = torch.cuda.Event()
        event.record(self._stream)
        return event

    def wait(self, event: torch.cuda.Event) -> None:
        """Let the current stream wait; the CPU does not."""
        torch.cuda.current_stream(self._device).wait_event(event)


def copy_stream(device: torch.device) -> CopyStream:
    """Return how tensors of a device are copied."""
    return CudaCopies(device) if device.type == "cuda" else CpuCopies()


class Arena:
    """CPU memory in blocks, allocated in order, and from the start again once all is free."""

    def __init__(self, *, pinned: bool, block_bytes: int = BLOCK_BYTES) -> None:
        self._pinned = pinned
        self._block_bytes = block_bytes
        self._blocks: list[Tensor] = []
        self._next = 0
        self._allocated = 0

    @property
    def nbytes(self) -> int:
        """The bytes of all blocks."""
        return self._block_bytes * len(self._blocks)

    def allocate(self, size: int) -> list[Tensor]:
        """Return `size` bytes in as few slices as possible; call `free` once for all of them."""
        if not self._allocated:
            self._next = 0
        self._allocated += 1
        pieces = []
        while size:
            block, start = divmod(self._next, self._block_bytes)
            if block == len(self._blocks):
                new = torch.empty(self._block_bytes, dtype=torch.uint8, pin_memory=self._pinned)
                self._blocks.append(new)
            part = min(size, self._block_bytes - start)
            pieces.append(self._blocks[block][start : start + part])
            self._next += -(-part // ALIGNMENT) * ALIGNMENT
            size -= part
        return pieces

    def free(self) -> None:
        """Free what one `allocate` returned."""
        self._allocated -= 1


Order = list["weakref.ref[OffloadedTensor]"]
"""What one forward pass has offloaded, in order."""


class OffloadedTensor:
    """A tensor saved for backward: in CPU memory, and during a copy also on its device."""

    def __init__(self, tensor: Tensor, arena: Arena, order: Order) -> None:
        self.tensor: Tensor | None = tensor
        self.device, self.dtype, self.size = tensor.device, tensor.dtype, tensor.nbytes
        self.layout = tuple(tensor.shape), tuple(tensor.stride())
        self.order, self.place = order, len(order)
        self.event: Any = None
        self.used = False
        self._arena = arena
        self.pieces = arena.allocate(tensor.nbytes)

    def pairs(self) -> Iterator[Copy]:
        """Return pairs of (slice in CPU memory, its bytes of the tensor)."""
        assert self.tensor is not None
        flat = self.tensor.as_strided((self.tensor.numel(),), (1,)).view(torch.uint8)
        return zip(self.pieces, flat.split([len(piece) for piece in self.pieces]), strict=True)

    def __del__(self) -> None:
        self._arena.free()


class Offload:
    """Makes contexts in which a forward pass offloads saved tensors, no weights or small ones.

    One object serves a whole run: the blocks in CPU memory are allocated once.
    """

    def __init__(
        self,
        model: nn.Module,
        copies: Callable[[torch.device], CopyStream] = copy_stream,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        parameters = list(model.parameters())
        self._weights = {p.untyped_storage().data_ptr() for p in parameters}
        self._layers = max(1, len(blocks_of(model)))
        self._device = parameters[0].device
        self._copies = copies(self._device)
        self._arena = Arena(pinned=self._device.type == "cuda", block_bytes=block_bytes)
        self._leaving: deque[OffloadedTensor] = deque()
        self._leaving_bytes = 0
        self._window = 0

    @property
    def host_bytes(self) -> int:
        """The bytes of CPU memory that are allocated."""
        return self._arena.nbytes

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Enter for one forward pass; backward may run outside."""
        self._release(0)
        order: Order = []
        total = 0

        def pack(tensor: Tensor) -> Tensor | OffloadedTensor:
            nonlocal total
            saved = self._offload(tensor, order)
            total += saved.size if isinstance(saved, OffloadedTensor) else 0
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, self._restore):
            yield
        self._window = LAYERS * total // self._layers

    @torch.no_grad()
    def _offload(self, tensor: Tensor, order: Order) -> Tensor | OffloadedTensor:
        elsewhere = tensor.device.type != self._device.type or tensor.nbytes < LEAST_BYTES
        if elsewhere or tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        whole = tensor if _dense(tensor) else tensor.contiguous()
        saved = OffloadedTensor(whole, self._arena, order)
        saved.event = self._copies.start(list(saved.pairs()))
        order.append(weakref.ref(saved))
        self._leaving.append(saved)
        self._leaving_bytes += saved.size
        self._release(self._window)
        return saved

    def _release(self, most: int) -> None:
        """Wait for the oldest copies until at most `most` bytes are in flight."""
        while self._leaving_bytes > most:
            oldest = self._leaving.popleft()
            self._leaving_bytes -= oldest.size
            if oldest.tensor is not None:
                self._copies.wait(oldest.event)
                oldest.tensor = None

    @torch.no_grad()
    def _restore(self, saved: Tensor | OffloadedTensor) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        self._fetch(saved)
        self._fetch_before(saved)
        self._copies.wait(saved.event)
        tensor, saved.tensor, saved.used = saved.tensor, None, True
        assert tensor is not None
        return tensor

    def _fetch(self, saved: OffloadedTensor) -> None:
        if saved.tensor is None:
            shape, strides = saved.layout
            saved.tensor = torch.empty_strided(
                shape, strides, dtype=saved.dtype, device=saved.device
            )
            saved.event = self._copies.start([(here, there) for there, here in saved.pairs()])

    def _fetch_before(self, saved: OffloadedTensor) -> None:
        """Copy back what backward needs next: as many bytes as one layer saves."""
        coming, place = 0, saved.place
        while place and coming < self._window // LAYERS:
            place -= 1
            before = saved.order[place]()
            if before is not None and not before.used:
                self._fetch(before)
                coming += before.size


def _dense(tensor: Tensor) -> bool:
    """Return whether a tensor has no gaps in memory, in any order of its dimensions."""
    expected = 1
    dimensions = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted(pair for pair in dimensions if pair[1] != 1):
        if stride != expected:
            return False
        expected *= size
    return True

"""What layers keep for the backward pass waits on the host, and its way costs no time it need not.

Copies go on a stream of their own while the card computes on. What leaves is held until it has
arrived, what comes back is asked for before it is needed; both ways at most as much is on its way
as two layers keep, which the pass before has told (the first waits for each copy). Nothing is
recorded on a second stream, so that the allocator takes memory back in the order of the program.

On the host it lies in slices of large blocks that are allocated once: PyTorch rounds pinned memory
up to a power of two, which these blocks are, and a tensor may lie in several of them.
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

LEAST_BYTES: Final = 1 << 16  # smaller tensors are not worth the way
BLOCK_BYTES: Final = 1 << 28
ALIGNMENT: Final = 512
LAYERS: Final = 2  # on their way, as `unfrozen.memory` counts them

Copy = tuple[Tensor, Tensor]
"""Where to, and from where."""


class CopyLane(Protocol):
    """The way between a device and the host; what was started first arrives first."""

    def start(self, copies: Sequence[Copy]) -> Any:
        """Copy once all that was computed so far is there; returns a mark to `join`."""

    def join(self, mark: Any) -> None:
        """What is computed from now on comes after the copies of `mark`."""


class HostLane:
    """There is no way: copies are done when they are started."""

    def start(self, copies: Sequence[Copy]) -> None:
        """Copy now."""
        for goal, source in copies:
            goal.copy_(source)

    def join(self, mark: None) -> None:
        """Nothing is under way."""


class CardLane:
    """A stream of its own, and an event for each mark."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def start(self, copies: Sequence[Copy]) -> torch.cuda.Event:
        """Copy on the stream, after what the computing one has been given."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for goal, source in copies:
                goal.copy_(source, non_blocking=True)
        mark = torch.cuda.Event()
        mark.record(self._stream)
        return mark

    def join(self, mark: torch.cuda.Event) -> None:
        """The computing stream waits, the processor does not."""
        torch.cuda.current_stream(self._device).wait_event(mark)


def lane(device: torch.device) -> CopyLane:
    """That of this device."""
    return CardLane(device) if device.type == "cuda" else HostLane()


class Arena:
    """Host memory in blocks, handed out in order, and from the start again once none is held."""

    def __init__(self, *, pinned: bool, block_bytes: int = BLOCK_BYTES) -> None:
        self._pinned = pinned
        self._block_bytes = block_bytes
        self._blocks: list[Tensor] = []
        self._next = 0
        self._held = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return self._block_bytes * len(self._blocks)

    def take(self, size: int) -> list[Tensor]:
        """`size` bytes in as few slices as they fit into; `give_back` once for all of them."""
        if not self._held:
            self._next = 0
        self._held += 1
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

    def give_back(self) -> None:
        """What one `take` gave is not needed any more."""
        self._held -= 1


Order = list["weakref.ref[KeptTensor]"]
"""What one forward pass has kept, as it came."""


class KeptTensor:
    """One tensor for the backward pass: on the host, and while it is on its way also here."""

    def __init__(self, tensor: Tensor, arena: Arena, order: Order) -> None:
        self.tensor: Tensor | None = tensor
        self.device, self.dtype, self.size = tensor.device, tensor.dtype, tensor.nbytes
        self.layout = tuple(tensor.shape), tuple(tensor.stride())
        self.order, self.place = order, len(order)
        self.mark: Any = None
        self.used = False
        self._arena = arena
        self.pieces = arena.take(tensor.nbytes)

    def pairs(self) -> Iterator[Copy]:
        """(slice on the host, bytes of the tensor)."""
        assert self.tensor is not None
        flat = self.tensor.as_strided((self.tensor.numel(),), (1,)).view(torch.uint8)
        return zip(self.pieces, flat.split([len(piece) for piece in self.pieces]), strict=True)

    def __del__(self) -> None:
        self._arena.give_back()


class Offload:
    """Contexts for the forward passes of a run; weights, views of them and small tensors stay."""

    def __init__(
        self,
        model: nn.Module,
        lanes: Callable[[torch.device], CopyLane] = lane,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        parameters = list(model.parameters())
        self._weights = {p.untyped_storage().data_ptr() for p in parameters}
        self._layers = max(1, len(blocks_of(model)))
        self._device = parameters[0].device
        self._lane = lanes(self._device)
        self._arena = Arena(pinned=self._device.type == "cuda", block_bytes=block_bytes)
        self._leaving: deque[KeptTensor] = deque()
        self._leaving_bytes = 0
        self._window = 0

    @property
    def host_bytes(self) -> int:
        """Bytes of the host that are taken."""
        return self._arena.nbytes

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """One forward pass; the backward pass may follow outside."""
        self._release(0)
        order: Order = []
        total = 0

        def pack(tensor: Tensor) -> Tensor | KeptTensor:
            nonlocal total
            kept = self._keep(tensor, order)
            total += kept.size if isinstance(kept, KeptTensor) else 0
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, self._back):
            yield
        self._window = LAYERS * total // self._layers

    @torch.no_grad()
    def _keep(self, tensor: Tensor, order: Order) -> Tensor | KeptTensor:
        elsewhere = tensor.device.type != self._device.type or tensor.nbytes < LEAST_BYTES
        if elsewhere or tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        whole = tensor if _dense(tensor) else tensor.contiguous()
        kept = KeptTensor(whole, self._arena, order)
        kept.mark = self._lane.start(list(kept.pairs()))
        order.append(weakref.ref(kept))
        self._leaving.append(kept)
        self._leaving_bytes += kept.size
        self._release(self._window)
        return kept

    def _release(self, most: int) -> None:
        """Hold at most so many bytes of what leaves: the oldest has to have arrived."""
        while self._leaving_bytes > most:
            oldest = self._leaving.popleft()
            self._leaving_bytes -= oldest.size
            if oldest.tensor is not None:
                self._lane.join(oldest.mark)
                oldest.tensor = None

    @torch.no_grad()
    def _back(self, kept: Tensor | KeptTensor) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        self._fetch(kept)
        self._fetch_before(kept)
        self._lane.join(kept.mark)
        tensor, kept.tensor, kept.used = kept.tensor, None, True
        assert tensor is not None
        return tensor

    def _fetch(self, kept: KeptTensor) -> None:
        if kept.tensor is None:
            shape, strides = kept.layout
            kept.tensor = torch.empty_strided(shape, strides, dtype=kept.dtype, device=kept.device)
            kept.mark = self._lane.start([(here, there) for there, here in kept.pairs()])

    def _fetch_before(self, kept: KeptTensor) -> None:
        """What was kept before is needed next: as much of it as one layer keeps."""
        coming, place = 0, kept.place
        while place and coming < self._window // LAYERS:
            place -= 1
            before = kept.order[place]()
            if before is not None and not before.used:
                self._fetch(before)
                coming += before.size


def _dense(tensor: Tensor) -> bool:
    """Whether its numbers lie side by side in memory, in any order of its dimensions."""
    expected = 1
    dimensions = zip(tensor.stride(), tensor.shape, strict=True)
    for stride, size in sorted(pair for pair in dimensions if pair[1] != 1):
        if stride != expected:
            return False
        expected *= size
    return True

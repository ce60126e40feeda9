"""PyTorch's memory tracker, asked for the peak of every instant of a step, not only of all of it.

`MemTracker` sees each operator's result, follows storages until they die and sorts them into
weights, buffers, gradients, activations, temporaries and optimizer state. Added here: the peak of
each instant under the component names of `unfrozen.events`, and which tensors belong to the head
and the loss (made from the moment the head is called until its input has its gradient, as in
`gpu_runner.train.measure`).

The tracker has no public place for this, so three private methods are overridden. Should one of
them be renamed, `tests/gpu_runner/trace/test_step.py` says so.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed._tools.common_utils import get_untyped_storages
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.hooks import RemovableHandle

Components = dict[str, int]
Snapshot = dict[str, int]

CPU: Final = torch.device("cpu")
KINDS: Final = (
    "Parameter",
    "Buffer",
    "Gradient",
    "Activation",
    "Temp",
    "Optstate",
    "Other",
    "Total",
)
"""Keys of a snapshot; the values are bytes."""


class StepTracker(MemTracker):
    """Follows one model and optimizer; `instant` names where the step is, `peaks` what it held."""

    def __init__(self, model: Any, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.instant = "load"
        self.peaks: dict[str, Components] = {}
        self._optimizer = optimizer
        self._highest: dict[str, int] = {}
        self._at_head = False
        self._head_tensors: set[Any] = set()  # the tracker's records of storages of head and loss
        weights = list(model.parameters())
        frozen = [parameter for parameter in weights if not parameter.requires_grad]
        trained_bytes = sum(p.nbytes for p in weights if p.requires_grad)
        self._adapter_bytes = trained_bytes if frozen else 0
        for parameter in frozen:  # the tracker would hook it, which autograd refuses
            unhooked = (RemovableHandle(OrderedDict()), RemovableHandle(OrderedDict()))
            self._param_to_grad_hook_handles[parameter] = unhooked
        self.track_external(model, optimizer)
        model.get_output_embeddings().register_forward_pre_hook(self._head_begins)

    def enter(self, instant: str) -> None:
        """The step has come to `instant`; what is alive now is its first candidate for a peak."""
        self.instant = instant
        self._at_head = False
        self._keep_higher()

    def forget_peaks(self) -> None:
        """Start anew: the first step, in which moments appear, is not the one to remember."""
        self.peaks.clear()
        self._highest.clear()

    def snapshot(self) -> Snapshot:
        """Bytes alive now, by the tracker's own kinds."""
        now = self._curr_mem_snap.get(CPU, {})
        named = {getattr(kind, "value", kind): size for kind, size in now.items()}
        return {kind: named.get(kind, 0) for kind in KINDS}

    def components(self) -> Components:
        """Bytes alive now, by the component names of `unfrozen.events`; zeros are left out."""
        now = self.snapshot()
        head = {"Activation": 0, "Temp": 0}
        for record in self._head_tensors:
            if record.reftype.value in head:
                head[record.reftype.value] += record.mem_consumed
        moments = min(now["Optstate"], self._moment_bytes())
        found = {
            "params": now["Parameter"] + now["Buffer"] - self._adapter_bytes,
            "adapters": self._adapter_bytes,
            "grads": now["Gradient"],
            "moments": moments,
            "activations": now["Activation"] - head["Activation"],
            "logits_loss": sum(head.values()),
            "workspace": now["Temp"] - head["Temp"] + now["Optstate"] - moments + now["Other"],
        }
        return {name: size for name, size in found.items() if size}

    def _moment_bytes(self) -> int:
        states = self._optimizer.state.values()
        return sum(v.nbytes for state in states for v in state.values() if isinstance(v, Tensor))

    def _keep_higher(self) -> None:
        total = self._curr_mem_snap[CPU]["Total"]
        if total > self._highest.get(self.instant, 0):
            self._highest[self.instant] = total
            self.peaks[self.instant] = self.components()

    def _head_begins(self, head: Any, inputs: tuple[Any, ...]) -> None:
        del head
        self._at_head = True
        inputs[0].register_hook(self._head_is_done)

    def _head_is_done(self, gradient: Tensor) -> None:
        del gradient
        self.enter("backward")

    def _track(self, reftype: Any, t: Tensor) -> None:
        """Overridden to note which storages are born in the head and the loss."""
        born = [s for s in get_untyped_storages(t) if s not in self._WINFO] if self._at_head else []
        super()._track(reftype, t)
        self._head_tensors.update(self._WINFO[storage][0] for storage in born)

    def _delete_callback(self, winfo: Any, w_st: Any) -> None:
        """Overridden to forget them again."""
        self._head_tensors.discard(winfo)
        super()._delete_callback(winfo, w_st)

    def _update_peak_stats(self, peak_state: Any) -> None:
        """Overridden: the instant's peak instead of every module's, which is four times faster."""
        del peak_state
        self._keep_higher()

"""A training step on a GPU that is not there, and every wait for it.

What lies on the GPU has a shape and no numbers; what lies on the host is real. `GPU` is all of a
driver that autograd and square brackets ask for. Whoever looks at a number of the GPU is named: by
the operator, and by the function of ours that asked.

Run as a script, with `GPU` loaded before PyTorch: cases as JSON in, waits out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

import tiny_families
from gpu_runner.data.feed import Batch, Feed
from gpu_runner.memory.tracker import SilentMeter
from gpu_runner.model import attention, blocks
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import OptimizerInBackward
from gpu_runner.train.loop import TrainingStep, train_step
from gpu_runner.world import World
from measured_steps import ROWS
from unfrozen.schedules import Schedule

GPU = """
#include <ATen/DeviceAccelerator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace {
constexpr auto CUDA = c10::DeviceType::CUDA;
struct Hooks : at::CUDAHooksInterface {
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return false; }
};
const c10::Device gpu(CUDA, 0);
const c10::Stream only(c10::Stream::DEFAULT, gpu);
struct Guard : c10::impl::NoOpDeviceGuardImpl<CUDA> {
  c10::Device exchangeDevice(c10::Device) const override { return gpu; }
  c10::Device getDevice() const override { return gpu; }
  c10::Stream getStream(c10::Device) const noexcept override { return only; }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return only; }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)
}
namespace at::detail {
const CUDAHooksInterface& getCUDAHooks() {
  static Hooks hooks;
  return hooks;
} }
namespace at::accelerator {
std::optional<c10::DeviceType> getAccelerator(bool) { return CUDA; } }
"""
COMPILER = shutil.which("g++") if sys.platform == "linux" else None
LOOKS = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "cpu", "numpy")
COUNTS = ("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal")
HOST, PLACE = torch.device("cpu"), torch.device("cuda")
Wait = tuple[str, str]


def built(folder: Path) -> Path:
    """The library that registers the device."""
    assert COMPILER is not None
    source, library = folder / "gpu.cpp", folder / "gpu.so"
    source.write_text(GPU)
    home = Path(torch.__file__).parent
    parts = home / "lib"
    flags = ["-shared", "-fPIC", "-std=c++20", f"-I{home / 'include'}", str(source)]
    linked = [f"-L{parts}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{parts}", "-o", str(library)]
    subprocess.run([COMPILER, *flags, *linked], check=True)
    return library


def asker() -> str:
    """The innermost function of the runner that is under way."""
    frame = sys._getframe(1)
    while frame is not None:
        if "gpu_runner" in frame.f_code.co_filename:
            return frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


def on_card(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


class Looks(TorchFunctionMode):
    """Notes who asks a tensor of the GPU for a number, and answers with zeros.

    Nothing is pinned here; that it was asked for counts. Of what is sent to the GPU, only what was
    pinned goes without a wait.
    """

    def __init__(self, waits: list[Wait]) -> None:
        super().__init__()
        self._waits = waits
        self._pinned: dict[int, torch.Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "pin_memory":
            found = args[0].clone()
            self._pinned[id(found)] = found  # held, or its id would be another's
            return found
        if name in LOOKS and args and on_card(args[0]):
            self._waits.append((name, asker()))
            return _nothing(args[0], name)
        if name == "to" and not on_card(args[0]) and _goal(args, given) == "cuda":
            at_once = id(args[0]) in self._pinned and given.get("non_blocking")
            self._waits += [] if at_once else [("to", asker())]
        return func(*args, **given)


def _goal(args: Any, given: dict[str, Any]) -> str:
    """The device that `Tensor.to` is told; "" for none."""
    told = [a for a in (*args[1:], *given.values()) if isinstance(a, str | torch.device)]
    return torch.device(told[0]).type if told else ""


def _nothing(tensor: torch.Tensor, name: str) -> Any:
    if name in ("cpu", "numpy"):
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    zeros = torch.zeros(tensor.shape).tolist()
    return zeros if name == "tolist" else {"__bool__": False, "__float__": 0.0}.get(name, 0)


class Operators(TorchDispatchMode):
    """Runs for real what has no part on the GPU; notes operators that wait for it."""

    def __init__(self, waits: list[Wait]) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        given = kwargs or {}
        leaves = tree_leaves((args, given))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
        gpu = any(isinstance(t, FakeTensor) for t in tensors)
        if not gpu and all(device.type == "cpu" for device in devices):
            with _disable_current_modes():
                return func(*args, **given)
        if gpu and self._waits_in(func, args, given):
            self._waits.append((str(func), asker()))
            if func is torch.ops.aten.nonzero.default:
                return torch.empty(1, args[0].ndim, dtype=torch.long, device=PLACE)
            if func is torch.ops.aten.index.Tensor:
                return args[0].flatten()
        return func(*args, **given)

    def _waits_in(self, func: Any, args: Any, given: dict[str, Any]) -> bool:
        name = str(func).split(".")[1]
        if name in COUNTS or name == "_local_scalar_dense":
            return True
        if name == "repeat_interleave":
            return given.get("output_size") is None
        if name in ("index", "index_put", "index_put_", "_unsafe_index"):
            places = [place for place in args[1] if place is not None]
            return any(place.dtype == torch.bool or not on_card(place) for place in places)
        if name == "_to_copy":
            return bool(given.get("device") == HOST)
        if name == "copy_":
            return on_card(args[1]) and not on_card(args[0]) and not (args[2:] or [False])[0]
        return name in ("documents", "documents_backward") and any(
            on_card(a) and a.dtype == torch.int32 for a in args
        )


def sent(model: Any, dtype: torch.dtype) -> Any:
    """Every weight and table of it anew, on the GPU; what was one stays one."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            exact = not isinstance(tensor, torch.nn.Parameter)
            kind = tensor.dtype if exact else dtype
            new = torch.empty(tensor.shape, dtype=kind, device=PLACE)
            made.setdefault(id(tensor), new if exact else torch.nn.Parameter(new))
            (module._buffers if exact else module._parameters)[name] = made[id(tensor)]
    return model


def walk(case: dict[str, Any]) -> list[Wait]:
    """The waits of two training steps, each by its operator and by who asked."""
    capability = tuple(case.get("capability", (8, 0)))
    waits: list[Wait] = []
    with (
        mock.patch.object(attention, "_capability", return_value=capability),
        mock.patch.object(torch.cuda, "get_device_capability", return_value=capability),
        mock.patch.object(torch.cuda, "is_bf16_supported", return_value=True),
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        FakeTensorMode(allow_non_fake_inputs=True),
        Operators(waits),
        Looks(waits),
    ):
        step = made(case)
        for number in (1, 2):
            train_step(step, number, SilentMeter())
    return waits


def made(case: dict[str, Any]) -> TrainingStep:
    """The step that a case asks for, by the runner's own parts."""
    narrow = case.get("params") == "bf16"
    with _disable_current_modes():
        plain = tiny_families.model(case.get("family", "llama"))
    model = sent(plain, torch.bfloat16 if narrow else torch.float32)
    blocks.prepare(model, case.get("checkpointing", "none"), compiled=False)
    choice = optim.OptimizerChoice(
        case.get("optimizer", "adamw"), 0.9, case.get("rounding", "nearest")
    )
    optimizer: Any = optim.build(model, lr=1e-3, weight_decay=0.1, choice=choice)
    early = case.get("early", False)
    if early:
        optimizer = OptimizerInBackward(model, optimizer, lambda: 1e-3, PLACE)
    return TrainingStep(
        model=model,
        optimizer=optimizer,
        feed=Feed(ROWS, 0, 4, 1 if early else 2, 0, packed=case.get("packed", True)),
        schedule=Schedule("constant", 2, 1e-3, 0, 0.0, 0),
        clip=0.0 if early else 1.0,
        autocast=_autocast(case.get("compute", "bf16"), narrow=narrow),
        loss=looking if case.get("looks") else partial(loss_sum, kind=case.get("loss", "linear")),
        world=World(device=PLACE),
    )


def looking(model: Any, batch: Batch) -> Any:
    """A loss that asks the GPU what the host knows: where tokens are trained."""
    trained = batch.labels[0] != -100
    torch.nonzero(trained[:4])
    bool(trained.all())
    batch.labels[0][trained]
    torch.ones(3).to(PLACE)
    return loss_sum(model, batch)


def _autocast(compute: str, *, narrow: bool) -> Callable[[], Any]:
    if narrow or compute == "fp32":
        return nullcontext
    return partial(torch.autocast, "cuda", dtype=torch.bfloat16)


def waits_of(cases: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """What `walk` finds of each case; what went wrong, as text, in its place."""
    here = Path(__file__)
    line = [sys.executable, str(here)]
    paths = os.pathsep.join([str(here.parent), str(here.parent.parent / "py")])
    done = subprocess.run(
        line,
        input=json.dumps(cases),
        env={**os.environ, "PYTHONPATH": paths, "LD_PRELOAD": str(built(folder))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Cases from standard input, answers to standard output."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, case in json.load(sys.stdin).items():
        try:
            found[name] = walk(case)
        except Exception as error:
            found[name] = repr(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

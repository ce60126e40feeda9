"""What watching may touch, word by word as docs/watch.md says it."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _python_dispatch
from torch.utils.flop_counter import FlopCounterMode
from transformers import masking_utils

import gpu_runner.watch
import run_process
import unfrozen
from conftest import matrix
from gpu_runner.memory import loop, tracker
from gpu_runner.watch import hooks, run
from watched_loops import alerts, events, series, small, steps
from watched_threads import train_in_threads

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[3] / "docs" / "watch.md"
OPTIMIZERS = sys.modules[torch.optim.Optimizer.__module__]
MODULES = sys.modules[nn.Module.__module__]


FUNCTIONS: dict[Any, tuple[str, ...]] = {
    torch.autograd: ("_engine_run_backward", "backward", "grad"),
    torch.optim.Optimizer: ("step", "zero_grad"),
    torch.optim.SGD: ("step",),
    torch.UntypedStorage: ("resize_",),
    torch.amp.GradScaler: ("scale",),
    nn.utils: ("clip_grad_norm_",),
    nn.Module: ("compile", "__call__", "_compiled_call_impl"),
    sys: ("exit", "excepthook", "unraisablehook"),
    threading: ("excepthook",),
    masking_utils: ("find_packed_sequence_indices",),
    torch._dynamo.eval_frame: ("_callback_from_stance", "_stance"),
    torch._dynamo.eval_frame.OptimizedModule: ("__call__",),
    _python_dispatch: ("_is_in_torch_dispatch_mode", "_is_in_non_infra_torch_dispatch_mode"),
}


def process_state(model: Any) -> dict[str, Any]:
    """All of a process and of a model that watching could leave changed."""
    every = [name for name in vars(MODULES) if name.startswith("_global_") and "hooks" in name]
    of_steps = "_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"
    hooks_of = {
        f"{name}.{key}": dict(value) if isinstance(value, dict) else value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if "hook" in key or "call" in key
    }
    of_weights = "_backward_hooks", "_post_accumulate_grad_hooks"
    return {
        "dispatch modes": _python_dispatch._get_current_dispatch_mode_stack(),
        "function modes": torch._C._len_torch_function_stack(),
        "saved tensors": torch._C._autograd._top_saved_tensors_default_hooks(True),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "functions": {
            (o, n): inspect.getattr_static(o, n) for o, ns in FUNCTIONS.items() for n in ns
        },
        "optimizers": [
            (getattr(OPTIMIZERS, one), dict(getattr(OPTIMIZERS, one))) for one in of_steps
        ],
        "modules": {name: dict(getattr(MODULES, name) or {}) for name in every},
        "module": hooks_of,
        "attributes": sorted(vars(model)),
        "weights": [
            [dict(getattr(p, one) or {}) for one in of_weights] for p in model.parameters()
        ],
        "training": [module.training for module in model.modules()],
        "signals": {one: signal.getsignal(one) for one in signal.valid_signals()},
        "threads": {one.name for one in threading.enumerate()},
        "level": logging.getLogger("torch._subclasses.fake_tensor").level,
    }


class Loop:
    """A model, its optimizer, and its watched run, of which the first two steps are measured."""

    def __init__(self, runs: Path, **options: Any) -> None:
        self.model, self.optimizer = small()
        self.before = process_state(self.model)
        self.run = unfrozen.watch(self.model, self.optimizer, runs=runs, **options)

    def loss(self) -> Any:
        return self.model(torch.ones(2, 4)).sum()


def close_between(given: Loop) -> None:
    steps(given.model, given.optimizer, 3)
    given.run.close()


def close_after_forward(given: Loop) -> None:
    given.loss()
    given.run.close()


def close_in_backward(given: Loop) -> None:
    loss = given.loss()
    loss.register_hook(lambda _: given.run.close())
    loss.backward()


def close_in_step(given: Loop) -> None:
    given.loss().backward()
    handle = given.optimizer.register_step_pre_hook(lambda *_: given.run.close())
    given.optimizer.step()
    handle.remove()


def step_in_backward(given: Loop) -> None:
    handles = [
        one.register_post_accumulate_grad_hook(lambda _: given.optimizer.step())
        for one in given.model.parameters()
    ]
    for _ in range(3):
        given.loss().backward()
    assert not _python_dispatch._get_current_dispatch_mode_stack()  # step 3 is not measured
    given.run.close()
    for one in handles:
        one.remove()


def raise_in_forward(given: Loop) -> None:
    with pytest.raises(RuntimeError), given.run:
        given.model(torch.ones(2, 5))


def raise_in_backward(given: Loop) -> None:
    loss = given.loss()
    loss.register_hook(lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError), given.run:
        loss.backward()


def interrupt(given: Loop) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    loss = given.loss()
    loss.register_hook(lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), given.run:
        loss.backward()


def close_in_another_thread(given: Loop) -> None:
    given.loss().backward()
    other = threading.Thread(target=given.run.close)
    other.start()
    other.join()
    assert events(given.run)[-1]["kind"] == "run.end"
    given.optimizer.step()  # what this thread does next ends the measurement


def fork(given: Loop) -> None:
    given.loss()
    if (child := os.fork()) == 0:
        same = process_state(given.model)
        expected = {**given.before, "threads": same["threads"]}  # ours does not live in it
        os._exit(int(same != expected))
    assert os.waitpid(child, 0)[1] == 0
    given.run.close()


ENDS: dict[str, Callable[[Loop], None]] = {
    one.__name__: one
    for one in (
        close_between,
        close_after_forward,
        close_in_backward,
        close_in_step,
        step_in_backward,
        raise_in_forward,
        raise_in_backward,
        interrupt,
        close_in_another_thread,
        fork,
    )
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_after_close(tmp_path: Path, end: str) -> None:
    given = Loop(tmp_path)
    ENDS[end](given)
    assert process_state(given.model) == given.before
    assert given.run.errors == (end == "raise_in_forward")  # such a step cannot be predicted
    assert events(given.run)[-1]["kind"] == "run.end"


def test_nothing_is_left_of_a_model_that_was_deleted(tmp_path: Path) -> None:
    given, (other, _) = Loop(tmp_path), small()
    given.loss()
    del given.model
    gc.collect()
    of_model = dict.fromkeys(("module", "attributes", "weights"))
    assert {**process_state(other), **of_model} == {**given.before, **of_model}
    assert events(given.run)[-1]["reason"] == "the model was deleted"


def test_modes_of_the_loop_begin_and_end_as_they_do_alone(tmp_path: Path) -> None:
    def counts(watched: bool) -> list[int]:
        model, optimizer = small()
        given = unfrozen.watch(model, optimizer, runs=tmp_path) if watched else None
        found = []
        for _ in range(3):
            with FlopCounterMode(display=False) as counter:  # around the forward pass alone
                loss = model(torch.ones(2, 4)).sum()
            found.append(counter.get_total_flops())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            assert counter.get_total_flops() == found[-1]
        if given is not None:
            given.close()
            assert events(given, "mem")
        return found

    assert counts(watched=True) == counts(watched=False)
    assert not _python_dispatch._get_current_dispatch_mode_stack()


SEAM = {
    *(
        "_observe",
        "_ignore",
        "Patch._wrap",
        "StepHooks.values",
        "ModelCall.__call__",
        "TensorTracker.__torch_dispatch__",
    ),
    *("guarded", "ErrorBoundary.__init__", "ErrorBoundary.hook", "ErrorBoundary.around"),
    *("ErrorBoundary.count", "ErrorBoundary.warn_once", "WatchedRun.__init__"),
}
"""The boundary itself, and what calls it."""
CHECKS = {
    *("watch", "join_models", "unwrap_compiled", "unwrap_optimizer", "WatchOptions.__post_init__"),
    *("SeveralModels.__init__", "Optimizers.__init__", "Optimizers.add", "Optimizers.alive"),
}
"""What checks the arguments of `watch`, which raises TypeError."""


def functions_of(module: Any) -> dict[str, tuple[Any, str]]:
    """The functions and methods that a module defines, each with its owner and its name there."""
    own = {name: one for name, one in vars(module).items() if _is_of(one, module)}
    found = {name: (module, name) for name, one in own.items() if not inspect.isclass(one)}
    for kind in (one for one in own.values() if inspect.isclass(one)):
        for name, one in vars(kind).items():
            inner = one.fget if isinstance(one, property) else one
            own_code = getattr(inspect.unwrap(inner), "__code__", None)
            if own_code and own_code.co_filename == module.__file__:  # no dataclass generated it
                found[f"{kind.__name__}.{name}"] = kind, name
    return {name: one for name, one in found.items() if name not in SEAM | CHECKS}


def _is_of(one: Any, module: Any) -> bool:
    is_code = inspect.isclass(one) or inspect.isroutine(one)
    return is_code and getattr(one, "__module__", "") == module.__name__


def plant(owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a function, method or property raise."""

    def planted(*_: Any, **__: Any) -> Any:
        raise LookupError("planted")

    given = inspect.getattr_static(owner, name)
    kinds = {property: property, staticmethod: staticmethod, classmethod: classmethod}
    kind: Any = kinds.get(type(given), lambda one: one)
    outer = run_guard(owner, given)
    monkeypatch.setattr(owner, name, kind(outer(planted)))


def run_guard(owner: Any, given: Any) -> Callable[[Any], Any]:
    """The boundary that a method has around it, which stays when what is within raises."""
    code = getattr(given, "__code__", None)
    if code is None or not code.co_qualname.startswith("guarded."):
        return lambda one: one
    return tracker.guarded if issubclass(owner, tracker.TensorTracker) else hooks.guarded("planted")


def all_of_a_loop(runs: Path | None) -> list[torch.Tensor]:
    """The weights after a loop that uses all of a watched run."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    given = None
    if runs is not None:
        given = unfrozen.watch(model, optimizer, runs=runs, eval_every=2, lengths=[8], price=1)
    for _ in range(3):
        for _ in range(2):
            model(torch.ones(2, 4)).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if given is not None:
            given.log({"reward": 1.0})
            given.saved("here")
    with pytest.raises(RuntimeError, match="shapes"):
        model(torch.ones(2, 5))
    if given is not None:
        given.close()
    return [*(one.detach() for one in model.parameters()), torch.get_rng_state()]


WATCHING = [
    f"gpu_runner.watch.{one.name}" for one in pkgutil.iter_modules(gpu_runner.watch.__path__)
]
OWN_LOOPS = ("callback", "tracker", "lightning")
PARTS = [one for one in WATCHING if not one.endswith(OWN_LOOPS)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "part",
    matrix(
        [*PARTS, tracker.__name__, loop.__name__],
        *(hooks.__name__, run.__name__, tracker.__name__, "gpu_runner.watch.measurement"),
    ),
)
def test_an_error_in_any_function_of_ours_is_not_felt(
    tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = all_of_a_loop(None)
    for name, (owner, own) in functions_of(import_module(part)).items():
        with pytest.MonkeyPatch.context() as patched:
            plant(owner, own, patched)
            found = all_of_a_loop(tmp_path)
        assert all(map(torch.equal, found, expected)), name
        for one in list(run._OPEN):
            one._detach()
        while torch._C._len_torch_dispatch_stack():  # where what removes it was broken
            torch._C._pop_torch_dispatch_stack(None)
    assert "Traceback" not in capsys.readouterr().err


def test_threads_that_train_are_not_felt_by_each_other(tmp_path: Path) -> None:
    program = Path(run_process.ROOT) / "tests" / "watched_threads.py"
    command = [sys.executable, str(program), str(tmp_path), "48", "3"]
    env = {**os.environ, "PYTHONPATH": str(run_process.ROOT / "py"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.matrix
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_thousand_watched_loops_in_four_threads(tmp_path: Path) -> None:
    train_in_threads(tmp_path, 1000)


def test_a_model_that_several_threads_train_is_left_alone(tmp_path: Path) -> None:
    modes = []

    class Model(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.append(self.training)
            return super().forward(x)

    model, meeting = Model(4, 4), threading.Barrier(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with unfrozen.watch(model, optimizer, runs=tmp_path, measure=False) as given:

        def work() -> None:
            for _ in range(5):
                loss = model(torch.ones(2, 4)).sum()
                meeting.wait()
                torch.autograd.grad(loss, list(model.parameters()))
                meeting.wait()

        started = [threading.Thread(target=work) for _ in range(2)]
        for one in started:
            one.start()
        for one in started:
            one.join()
    assert all(modes)
    assert "Several threads train this model" in alerts(given)
    assert events(given)[-1]["status"] == "stopped"


def test_steps_may_be_taken_in_one_thread_after_another(tmp_path: Path) -> None:
    model, optimizer = small()
    with unfrozen.watch(model, optimizer, runs=tmp_path) as given:
        for _ in range(3):
            other = threading.Thread(target=steps, args=(model, optimizer, 1))
            other.start()
            other.join()
    assert len(series(given, "train/loss")) == 3
    assert given.errors == 0


def test_the_page_says_in_one_sentence_what_is_touched() -> None:
    text = " ".join(PAGE.read_text().split())
    assert (
        "Watching acts only in the thread that trains, reads only its own model, has an error"
        " boundary around every hook and every dispatched operator, and leaves nothing after"
        " `close`" in text
    )

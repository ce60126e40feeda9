"""Whether a run compiles its blocks: what is timed, and how the times of a whole run decide."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_families
import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.plan import compile_choice
from gpu_runner.plan.compile_choice import Choice, Layers, LayerTimes, choose, choose_compile
from gpu_runner.plan.plan import RunPlan, make_plan
from gpu_runner.world import World

LONG = 10_000_000
Made = Callable[..., RunPlan]


@pytest.fixture
def made(model_dir: Path, sums_file: Path) -> Made:
    def plan(**changes: Any) -> RunPlan:
        given = {"model": str(model_dir), "data": str(sums_file), "general": (), "device": "cpu"}
        return make_plan(resolve({**given, "steps": LONG, **changes}))

    return plan


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_choice, "SECONDS", 0.0)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """What stands in for Inductor, whose C++ takes a minute."""
    own = torch.nn.Module.compile

    def use(name: Any) -> None:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        compiled = lambda self, **more: own(self, backend=name, **more)  # noqa: E731
        monkeypatch.setattr(torch.nn.Module, "compile", compiled)

    return use


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


TIMES = LayerTimes(eager=0.0044, compiled=0.0031, compiling=21.0)


@pytest.mark.parametrize(
    ("times", "steps", "chosen"),
    [
        (
            TIMES,
            2000,
            "Compiled: a layer takes 3.10 ms in place of 4.40, which repays 21.0 s of compiling"
            " after 505 of 2,000 steps.",
        ),
        (
            TIMES,
            505,
            "Not compiled: a layer would take 3.10 ms in place of 4.40, which repays 21.0 s of"
            " compiling after 505 steps, and the run has 505.",
        ),
        (
            replace(TIMES, compiled=0.0044),
            LONG,
            "Not compiled: a layer would take 4.40 ms in place",
        ),
        (
            replace(TIMES, compiled=0.0046),
            LONG,
            "Not compiled: a layer would take 4.60 ms in place",
        ),
    ],
)
def test_the_time_of_the_whole_run_decides(times: LayerTimes, steps: int, chosen: str) -> None:
    """Of 32 layers and a micro-batch a step: 41.6 ms, which are 21 s after 504.8 steps."""
    compiled, reason = compile_choice.verdict(times, 32, steps)
    assert reason.startswith(chosen)
    assert compiled is (steps == 2000)


@pytest.mark.parametrize(
    ("steps", "timed", "says"),
    [
        (3000, [False], "Not compiled: its layers take 26.4 s in the whole run, too little"),
        (5000, [False, True], "Not compiled: a layer would take 3.10 ms in place of 4.40, which"),
        (9000, [False, True], "Compiled: a layer takes 3.10 ms in place of 4.40, which repays"),
    ],
)
def test_a_longer_run_compiles_what_a_shorter_one_does_not(
    made: Made, monkeypatch: pytest.MonkeyPatch, steps: int, timed: list[bool], says: str
) -> None:
    """Of two layers and one micro-batch: 21 s of compiling are repaid after 8,077 steps."""
    found: list[bool] = []

    def time(self: Layers, _: Any) -> LayerTimes:
        found.append(all(block._compiled_call_impl is not None for block in self.every))
        return TIMES

    monkeypatch.setattr(Layers, "time", time)
    chosen = choose(made(steps=steps, micro_batch=1, grad_accum=1))
    assert chosen.reason.startswith(says)
    assert chosen.compiled is says.startswith("Compiled")
    assert found == timed


def states() -> tuple[Any, ...]:
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        torch.are_deterministic_algorithms_enabled(),
    )


def test_a_short_run_is_timed_eagerly_alone_and_draws_nothing(
    made: Made, backend: Callable[[Any], None]
) -> None:
    backend(refuse)
    before = states()
    assert choose(made(steps=3)).reason.endswith("too little to pay it off.")
    assert states() == before


def refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("Failed to find C compiler.\nPlease specify")


def test_a_compiler_that_fails_is_the_reason(made: Made, backend: Callable[[Any], None]) -> None:
    backend(refuse)
    before = states()
    compiled, reason = choose(made())
    assert not compiled
    assert reason.startswith("Not compiled: a layer could not be timed (BackendCompilerFailed:")
    assert reason.endswith("raised: RuntimeError: Failed to find C compiler).")
    assert states() == before


def test_a_full_memory_is_the_reason(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(Layers, "time", full)
    assert choose(made()) == (False, "Not compiled: no memory is free to time a layer.")


@pytest.mark.slow
@pytest.mark.parametrize("choices", [{}, {"checkpointing": "full", "compute": "bf16"}])
def test_one_block_is_compiled_once_and_timed(
    made: Made, backend: Callable[[Any], None], choices: dict[str, Any]
) -> None:
    """Only the C++ of it is left out; on sequences of the one length that a compiled run has."""
    backend("aot_eager")
    planned = made(**choices)
    sample = compile_choice._Sample.of(planned)
    batch = sample.batch(planned, compiled=True)
    assert batch.tokens == planned.feed.capacity > sample.batch(planned, compiled=False).tokens
    layers = compile_choice._layers(planned, compiled=True)
    found = layers.time(batch)
    assert graphs() == 1
    assert found.compiling > found.compiled > 0
    assert all(p.is_meta for block in layers.every for p in block.parameters())
    assert choose(planned).reason.count("a layer") == 1


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="without g++ nothing can be compiled")
def test_a_long_run_is_measured_for_real(made: Made) -> None:
    before = states()
    compiled, reason = choose(made())
    assert reason.startswith("Compiled: a layer takes " if compiled else "Not compiled: a layer w")
    assert states() == before


def test_blocks_are_fused_where_the_run_fuses_them(made: Made) -> None:
    for choices, fused in (({}, True), ({"fused": False}, False)):
        layers = compile_choice._layers(made(**choices), compiled=False)
        assert not [
            block for block in layers.every if isinstance(block.mlp.forward, partial) is not fused
        ]
    layers = compile_choice._layers(made(), compiled=True)
    assert not [block for block in layers.every if isinstance(block.mlp.forward, partial)]


def test_shards_are_gathered_in_16_bits(model_dir: Path, sums_file: Path) -> None:
    given = {"model": str(model_dir), "data": str(sums_file), "general": (), "device": "cpu"}
    for ranks, dtype in ((1, torch.float32), (2, torch.bfloat16)):
        planned = make_plan(resolve({**given, "compute": "bf16"}), ranks=ranks)
        model = compile_choice._layers(planned, compiled=False).every[0]
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert compile_choice._Sample.of(planned).micro_batches * ranks == 2


@pytest.fixture
def windows(tmp_path: Path, sums_file: Path) -> RunPlan:
    """A model of three blocks, of which the second has no window."""
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    made = tiny_families.model("gemma2", num_hidden_layers=3, layer_types=types)
    made.save_pretrained(tmp_path)
    tiny_llama.tokenizer().save_pretrained(tmp_path)
    given = {"model": str(tmp_path), "data": str(sums_file), "general": (), "device": "cpu"}
    return make_plan(resolve({**given, "steps": LONG}))


def test_each_kind_of_block_is_timed_with_its_own_arguments(windows: RunPlan) -> None:
    layers = compile_choice._layers(windows, compiled=False)
    assert (layers.kinds, layers.count) == ({0: 2, 1: 1}, 3)
    batch = compile_choice._Sample.of(windows).batch(windows, compiled=False)
    seen = []
    for index, block in enumerate(layers.every[:2]):
        block.register_forward_pre_hook(
            lambda _, given, named: seen.append((given[0].shape, named["attention_mask"])),
            with_kwargs=True,
        )
        with layers.ready(index, batch) as passes:
            passes()
    shape = (1, batch.tokens, 32)
    assert {size for size, _ in seen} == {shape}
    assert [mask and mask.window for _, mask in seen[:: len(seen) // 2]] == [8, None]


def test_a_model_of_many_kinds_is_not_measured(
    windows: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_choice, "MOST_KINDS", 1)
    reason = "Not compiled: the model has 2 kinds of layers, too many."
    assert choose(windows) == (False, reason)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"router_balance": 0.1}, " because of --router-balance 0.1: a compiled block hides its"),
        ({"deterministic": True}, " because of --deterministic: two runs might choose different"),
        ({"activation_offload": True}, " because of --activation-offload: its copies are not in"),
    ],
)
def test_what_excludes_compiling_is_the_reason(
    made: Made, monkeypatch: pytest.MonkeyPatch, choices: dict[str, Any], says: str
) -> None:
    planned = made()
    monkeypatch.setattr(compile_choice, "_measured", refuse)
    planned = replace(planned, config=replace(planned.config, **choices))
    compiled, reason = choose(planned)
    assert not compiled
    assert reason.startswith(f"Not compiled{says}")


def test_without_a_compiler_nothing_is_measured(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_choice, "_measured", refuse)
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = "Not compiled: it needs a C++ compiler (no-such-compiler), and there is none."
    assert choose(made()) == (False, reason)


def test_compiling_never_takes_memory_that_is_not_free(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_choice, "_measured", lambda _: Choice(True, "yes"))
    planned = made()
    eager, compiled = planned.prediction, planned.with_compile(True).prediction
    assert eager is not None
    assert compiled is not None
    assert compiled.peak_bytes > eager.peak_bytes, "its sequences are padded"
    tight = replace(planned, available_bytes=eager.peak_bytes)
    assert choose(tight).reason.startswith("Not compiled: it would need ")
    assert choose(replace(planned, available_bytes=compiled.peak_bytes)).compiled


class First(World):
    """One of several processes; the first one's answer comes over the wire."""

    def on_first(self, function: Callable[[], Any]) -> Any:
        assert self.rank == 1
        del function
        return Choice(True, "Compiled: as the first process says.")


def on_gpu(planned: RunPlan) -> RunPlan:
    return replace(planned, device=torch.device("cuda"))


def test_every_process_takes_the_choice_of_the_first(made: Made, console: Console) -> None:
    found = choose_compile(on_gpu(made()), First(rank=1, size=2), console)
    assert found.config.compile is True
    assert found.about_compile == "Compiled: as the first process says."
    assert found.feed.fixed
    assert found.heaviest.length == found.feed.capacity


@pytest.mark.parametrize("asked", [True, False])
def test_what_was_asked_for_is_not_measured(made: Made, console: Console, asked: bool) -> None:
    planned = on_gpu(replace(made(), config=replace(made().config, compile=asked)))
    assert choose_compile(planned, First(rank=2), console) is planned


def test_a_cpu_compiles_nothing_unless_asked_and_says_nothing(made: Made, console: Console) -> None:
    found = choose_compile(made(), First(rank=2), console)
    assert (found.config.compile, found.about_compile) == (False, "")
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]

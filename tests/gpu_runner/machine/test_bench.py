"""Speed and memory of made-up sizes: numbers that belong together; no speed is asserted."""

import json
from typing import Any

import pytest
import torch
from rich.console import Console

from gpu_runner.errors import ExitCode, UsageError
from gpu_runner.machine import bench
from unfrozen.units import GIB

CPU = torch.device("cpu")
TINY = ("tiny", 512, 64, 128, 2, 4, 2)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "ON_CPU", (TINY,))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_a_size_is_measured_padded_and_packed(console: Console) -> None:
    assert bench.run(console, "cpu", as_json=True) == ExitCode.OK
    found = json.loads(console.file.getvalue())  # type: ignore[attr-defined]
    padded, packed = found["steps"]
    assert (padded["packed"], packed["packed"]) == (False, True)
    for one in (padded, packed):
        assert one["parameters"] == bench.Size("", SETTINGS, 256).shape.num_parameters
        assert one["measured_bytes"] == pytest.approx(one["predicted_bytes"], rel=0.05)
        assert one["tokens_per_second"] > 0
        assert 0 < one["mfu"] < 1
    assert packed["measured_bytes"] < padded["measured_bytes"], "there is no padding"


SETTINGS = {
    **{"model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True},
    **dict(zip(bench._KEYS, TINY[1:], strict=True)),
}


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_a_size_that_runs_out_of_memory_is_a_line_and_the_next_is_measured(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = bench.train_step

    def full(step: Any, *more: Any) -> Any:
        if not step.feed.packed:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(step, *more)

    monkeypatch.setattr(bench, "train_step", full)
    assert bench.run(console, "cpu", as_json=False) == ExitCode.OK
    head, padded, packed = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert head.startswith("a CPU, one matmul ")
    assert "out of memory" in padded
    assert "MFU" in packed


FITTING = {
    2: ["135M"],
    24: ["135M", "0.5B"],
    40: ["135M", "0.5B", "1B"],
    80: ["135M", "1B", "3B"],
    190: ["135M", "3B", "8B"],
}


@pytest.mark.parametrize(("gib", "names"), FITTING.items())
def test_sizes_are_those_that_fit_the_gpu(
    gib: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "free_bytes", lambda _: gib * GIB)
    monkeypatch.setattr(bench, "choose_device", lambda _: torch.device("cuda", 0))
    found = bench.sizes(torch.device("cuda", 0), "bf16")
    assert [size.name for size in found] == names


def test_the_sizes_are_those_of_models_that_people_train() -> None:
    counts = {name: _count(values) for name, *values in bench.ON_GPU}
    assert counts["135M"] == pytest.approx(134.5e6, rel=0.01)
    assert counts["1B"] == pytest.approx(1.24e9, rel=0.01)
    assert counts["3B"] == pytest.approx(3.21e9, rel=0.01)


def _count(values: list[int]) -> int:
    shared = {"model_type": "llama", "hidden_act": "silu", "tie_word_embeddings": True}
    settings = shared | dict(zip(bench._KEYS, values, strict=True))
    return bench.Size("", settings, 256).shape.num_parameters


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_refused(console: Console) -> None:
    with pytest.raises(UsageError, match="sees no CUDA device"):
        bench.run(console, "cuda", as_json=False)

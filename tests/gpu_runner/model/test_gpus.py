"""Paths of a GPU, walked with tensors that have a CUDA device and a shape, and nothing else."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fake_gpu
from gpu_runner.model import attention

AMPERE, ADA, TURING, BLACKWELL = (8, 0), (8, 9), (7, 5), (12, 0)
ALL = {"scale", "window_size", "enable_gqa"}


def queries(dtype: torch.dtype = torch.bfloat16, width: int = 64) -> torch.Tensor:
    return torch.empty(1, 4, 10, width, dtype=dtype, device="cuda")


@pytest.mark.parametrize(
    ("capability", "dtype", "width", "arguments", "taken"),
    [
        (AMPERE, torch.bfloat16, 64, ALL, True),
        (AMPERE, torch.bfloat16, 256, ALL, True),
        (AMPERE, torch.bfloat16, 264, ALL, False),
        (AMPERE, torch.bfloat16, 208, ALL, True),
        (ADA, torch.bfloat16, 208, ALL, False),  # no shared memory for its gradient
        (BLACKWELL, torch.bfloat16, 224, ALL, False),
        (ADA, torch.bfloat16, 192, ALL, True),
        (ADA, torch.bfloat16, 256, ALL, True),
        (AMPERE, torch.float32, 64, ALL, False),
        (TURING, torch.float16, 64, ALL, False),
        (AMPERE, torch.bfloat16, 64, {"scale", "window_size"}, False),  # torch 2.11
        (AMPERE, torch.bfloat16, 64, set(), False),
    ],
)
def test_the_kernel_of_a_gpu_is_taken_where_it_runs(
    capability: tuple[int, int],
    dtype: torch.dtype,
    width: int,
    arguments: set[str],
    taken: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "_capability", lambda _: capability)
    monkeypatch.setattr(attention, "_kernel_arguments", lambda: arguments)
    with FakeTensorMode():
        assert attention.has_flash(queries(dtype, width)) is taken


def test_this_pytorch_has_every_argument() -> None:
    assert attention._kernel_arguments() >= ALL


PROMISED = 3 * [["item", "train_step"]]  # loss, norm and whether it was skipped: one list
CASES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama on Turing, one by one": {"capability": TURING},
    "llama in fp32": {"compute": "fp32"},
    "padded rows": {"packed": False},
    "a window by the kernel": {"family": "mistral"},
    "a window in fp32": {"family": "mistral", "compute": "fp32"},
    "padded rows with a window": {"family": "mistral", "packed": False},
    "capped scores": {"family": "gemma2"},
    "gpt2": {"family": "gpt2"},
    "experts of bf16 weights on Hopper": {
        "family": "qwen3_moe", "params": "bf16", "capability": (9, 0)
    },
    "experts of fp32 weights under autocast": {"family": "qwen3_moe"},
    "the full loss": {"loss": "full"},
    "the chunked loss": {"loss": "chunked"},
    "checkpointing full": {"checkpointing": "full"},
    "checkpointing selective": {"checkpointing": "selective"},
    "bf16 weights": {"params": "bf16"},
    "bf16 weights, stochastic": {"params": "bf16", "rounding": "stochastic"},
    "bf16 weights, kahan": {"params": "bf16", "rounding": "kahan"},
    "adafactor": {"optimizer": "adafactor"},
    "muon": {"optimizer": "muon"},
    "in the backward pass": {"early": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if fake_gpu.COMPILER is None:
        pytest.skip("without g++ there is no GPU to stand in")
    cases = {**CASES, "found": {"looks": True}}
    return fake_gpu.waits_of(cases, tmp_path_factory.mktemp("gpu"))


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("case", CASES)
def test_a_whole_step_waits_for_its_gpu_once_at_its_end(case: str, walked: dict[str, Any]) -> None:
    """Forward, backward and update, of two steps; whatever else asks the GPU is named."""
    assert walked[case] == 2 * PROMISED


@pytest.mark.slow
@pytest.mark.matrix
def test_a_loss_that_looks_at_its_tokens_is_found(walked: dict[str, Any]) -> None:
    """What `loss_sum` did once: places of trained tokens asked of the GPU, three times a batch."""
    found = {operator for operator, _ in walked["found"]}
    assert {"aten.nonzero.default", "__bool__", "aten.index.Tensor", "to"} <= found

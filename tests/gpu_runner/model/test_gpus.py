"""Paths of a GPU, walked with tensors that have a CUDA device and a shape, and nothing else."""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

import fake_gpu
from gpu_runner.model import attention, blocks

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


Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def of_documents(bounds: torch.Tensor, *tensors: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Each document's part of tensors (N, heads, d) as (1, heads, n, d)."""
    for start, end in pairwise(bounds.tolist()):
        yield [tensor[start:end].transpose(0, 1)[None] for tensor in tensors]


def flash(q: Any, k: Any, v: Any, bounds: Any, *_: Any, scale: float, **__: Any) -> Any:
    """The forward kernel of a GPU by that of the CPU, document by document."""
    found = [FORWARD(*heads, 0.0, True, scale=scale) for heads in of_documents(bounds, q, k, v)]
    output = torch.empty_like(q).copy_(torch.cat([one[0].transpose(0, 1) for one, _ in found]))
    sums = torch.cat([lse[0].to(torch.float32) for _, lse in found], dim=-1)
    nothing = torch.zeros(())
    return output, sums, nothing, nothing.clone(), nothing.clone()


def flash_backward(
    slope: Any, q: Any, k: Any, v: Any, out: Any, lse: Any, bounds: Any, *_: Any, **more: Any
) -> Heads:
    """The backward kernel: shares of the keys follow from `lse`, their mean slope from `out`."""
    parts = of_documents(bounds, slope, q, k, v, out, lse.T[..., None])
    found = [
        BACKWARD(*heads, sums[..., 0], 0.0, True, scale=more["scale"]) for *heads, sums in parts
    ]
    joined = (
        torch.cat([one[0].transpose(0, 1) for one in parts]) for parts in zip(*found, strict=True)
    )
    by_query, by_key, by_value = (
        torch.empty_like(like).copy_(one) for like, one in zip((q, k, v), joined, strict=True)
    )
    return by_query, by_key, by_value


FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def test_sinks_join_what_the_kernels_of_a_gpu_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels know none; the CPU's, which compute the same, stand in for them."""
    bounds = torch.tensor([0, 5, 12], dtype=torch.int32)
    heads = [torch.randn(1, count, 12, 8) for count in (4, 2, 2)]
    given = [one.requires_grad_() for one in (*heads, torch.randn(4))]
    weight = torch.randn(1, 12, 4, 8)
    found = []
    library = torch.library.Library("aten", "IMPL")
    library.impl("_flash_attention_forward", flash, "CPU")
    library.impl("_flash_attention_backward", flash_backward, "CPU")
    try:
        for on_gpu, again in ((False, False), (True, False), (True, True)):
            monkeypatch.setattr(attention, "has_flash", lambda _, on_gpu=on_gpu: on_gpu)
            call = partial(
                attention.attend,
                *(None, *given[:3]),
                s_aux=given[3],
                **attention.bounds_arguments(bounds, 7),
            )
            if again:  # of which the kernel's output is kept
                call = partial(checkpoint, call, use_reentrant=False, context_fn=blocks._selective)
            output, _ = call()
            slopes = torch.autograd.grad((output * weight).sum(), given)
            found.append((output, *slopes))
    finally:
        library._destroy()
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_groups_of_heads_share_their_keys_without_a_copy_of_them(
    rows: int, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the memory-efficient kernel takes them: as many heads of keys as of queries."""
    q, k, v = (torch.randn(rows, 9, h, 8).transpose(1, 2).requires_grad_() for h in (6, 2, 2))
    limits = attention._Limits(0.3, 4 if masked else None)
    asked = []
    own = torch.nn.functional.scaled_dot_product_attention

    def taken(*heads: torch.Tensor, **more: Any) -> torch.Tensor:
        asked.append(heads)
        return own(*heads, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", taken)
    found = []
    for on_gpu in (False, True):
        monkeypatch.setattr(attention, "_on_gpu", lambda _, on_gpu=on_gpu: on_gpu)
        output = attention._attend_all(q, k, v, limits)
        found.append((output, *torch.autograd.grad(output.square().sum(), (q, k, v))))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)
    queries, keys, values = asked[1][:3]
    assert queries.shape == keys.shape == values.shape == (2 * rows, 3, 9, 8)
    assert keys.stride(1) == values.stride(1) == 0
    assert keys.untyped_storage().nbytes() == k.nbytes


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
    "sinks by the kernel": {"family": "gpt_oss"},
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

"""Our operator for attention within documents, beside the formula with a mask for everything."""

import math

import pytest
import torch
from torch import Tensor

from gpu_runner.model import document_attention as kernels

LENGTHS = (5, 64, 200, 200, 330)
BOUNDS = [sum(LENGTHS[:end]) for end in range(len(LENGTHS) + 1)]


def by_formula(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: list[int],
    window: int = 0,
    cap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    """(B, N, H, d): every score of every pair, most of them masked, and sinks (H,)."""
    tokens, groups = query.shape[2], query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
    scores = query @ key.transpose(2, 3) * 0.3
    scores = cap * torch.tanh(scores / cap) if cap else scores
    place = torch.arange(tokens)
    document = torch.bucketize(place, torch.tensor(bounds[1:]), right=True)
    back = place[:, None] - place
    seen = (document[:, None] == document) & (back >= 0) & (back < (window or tokens))
    scores = scores.masked_fill(~seen, -math.inf)
    if sinks is not None:
        scores = torch.cat((scores, sinks.view(-1, 1, 1).expand(*scores.shape[:3], 1)), dim=-1)
    return (scores.softmax(-1)[..., :tokens] @ value).transpose(1, 2)


def test_gradients_in_fp64_are_as_exact_as_it() -> None:
    q = torch.randn(1, 2, 9, 8, dtype=torch.float64, requires_grad=True)
    found, expected = (
        torch.autograd.grad(one.square().sum(), q)
        for one in (
            kernels.documents(q, q, q, torch.tensor([0, 9]), 0.3)[0],
            by_formula(q, q, q, [0, 9], 0, 0.0),
        )
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("window", [0, 7, 64, 100, 300])
@pytest.mark.parametrize(("rows", "sunk"), [(1, True), (2, False)])
def test_values_and_gradients_are_those_of_the_formula(
    window: int, cap: float, rows: int, sunk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "SCORES", 4 * 50 * 40)  # or so little would be one part
    torch.manual_seed(window)
    q = torch.randn(rows, 4, BOUNDS[-1], 8, requires_grad=True)
    k, v = (torch.randn(rows, 2, BOUNDS[-1], 8, requires_grad=True) for _ in range(2))
    sinks = torch.randn(4, requires_grad=True)
    sink = (sinks,) if sunk else ()
    found, _ = kernels.documents(q, k, v, torch.tensor(BOUNDS), 0.3, window, cap, *sink)
    expected = by_formula(q, k, v, BOUNDS, window, cap, *sink)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(found)
    ours = torch.autograd.grad((found * weight).sum(), (q, k, v, *sink))
    theirs = torch.autograd.grad((expected * weight).sum(), (q, k, v, *sink))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_no_part_sees_more_than_its_window_and_some_rows() -> None:
    found = list(kernels.parts([0, 4096], window=128))
    assert max(part.keys for part in found) == 128 + 128
    assert sum(part.rows * part.times for part in found) == 4096
    scores = sum(part.rows * part.keys * part.times for part in found)
    assert scores < 4096 * 4096 / 15


@pytest.mark.slow
@pytest.mark.parametrize(("window", "sunk"), [(0, False), (3, False), (0, True)])
def test_the_operator_agrees_with_its_own_declaration(window: int, sunk: bool) -> None:
    q = torch.randn(1, 4, 9, 8, requires_grad=True)
    k, v = (torch.randn(1, 2, 9, 8, requires_grad=True) for _ in range(2))
    bounds = torch.tensor([0, 4, 9], dtype=torch.int32)
    torch.library.opcheck(
        kernels.documents,
        (q, k, v, bounds, 0.3, window, 0.0, torch.randn(4, requires_grad=True) if sunk else None),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )

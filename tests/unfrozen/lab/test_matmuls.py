"""Products go to a kernel where there is one, and to numpy where it has no place."""

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from unfrozen.lab import operations
from unfrozen.lab.operations import Floats, matmul

calls: list[int] = []


def array_at(address: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Floats:
    size = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 4
    memory = (ctypes.c_char * size).from_address(address)
    return np.ndarray(shape, np.float32, memory, strides=strides)


def kernel(address: int) -> None:
    """What matmul.wat does, read off the same 20 ints."""
    values = list((ctypes.c_int64 * 20).from_address(address))
    a, a_strides, b, b_strides = values[0], values[1:5], values[5], values[6:10]
    out, out_strides, (outer, inner, m, n, k) = values[10], values[11:14], values[14:19]
    left = array_at(a, (outer, inner, m, k), tuple(a_strides))
    right = array_at(b, (outer, inner, k, n), tuple(b_strides))
    array_at(out, (outer, inner, m, n), (*out_strides, 4))[:] = left @ right
    calls.append(m)


@pytest.fixture
def with_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(operations, "_call", np.zeros(20, np.int64))  # addresses here have 64 bits
    operations.set_kernel(kernel)
    calls.clear()
    yield
    operations.set_kernel(None)


def numbers(*shape: int) -> Floats:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


CASES = {
    "plain": (numbers(5, 7), numbers(7, 8)),
    "transposed": (numbers(7, 5).T, numbers(9, 7).T),
    "a batch": (numbers(3, 4, 6), numbers(3, 6, 2)),
    "two batches, one a view": (numbers(2, 3, 4, 6), numbers(2, 6, 3, 5).transpose(0, 2, 1, 3)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("with_kernel")
def test_the_kernel_is_told_where_everything_lies(case: str) -> None:
    a, b = CASES[case]
    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-5)
    assert calls == [a.shape[-2]]


@pytest.mark.usefixtures("with_kernel")
def test_a_place_for_the_result_is_used() -> None:
    out = np.zeros((9, 8), np.float32)
    found = matmul(numbers(3, 7), numbers(7, 8), out=out[3:6])
    assert found.base is out
    np.testing.assert_allclose(out[3:6], numbers(3, 7) @ numbers(7, 8), rtol=1e-5)
    assert not out[:3].any()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (numbers(2, 3).astype(float), numbers(3, 2).astype(float)),
        (numbers(0, 3), numbers(3, 2)),
        (numbers(3, 2), numbers(2, 0)),
        (numbers(3, 0), numbers(0, 2)),
        (numbers(4, 2, 3), numbers(3, 2)),
        (numbers(1, 1, 1, 2, 3), numbers(1, 1, 1, 3, 2)),
    ],
)
@pytest.mark.usefixtures("with_kernel")
def test_what_the_kernel_cannot_do_numpy_does(a: Floats, b: Floats) -> None:
    np.testing.assert_allclose(matmul(a, b), a @ b, rtol=1e-5)
    assert not calls


def test_without_a_kernel_numpy_does_it() -> None:
    a, b = numbers(2, 3), numbers(3, 2)
    np.testing.assert_array_equal(matmul(a, b), a @ b)

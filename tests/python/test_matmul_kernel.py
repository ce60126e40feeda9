"""The lab's kernel, assembled as in the site builder, gives the bits that numpy's order gives."""

from __future__ import annotations

import ctypes
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import build
from unfrozen.lab import operations, optimizer

Floats = NDArray[np.float32]
FILL = 0x7FABCDEF  # a NaN of its own: read by mistake, it spoils a sum; written over, it is missed


class Kernel:
    """The kernel in a running Node."""

    def __init__(self, node: str, folder: Path) -> None:
        wasm = folder / "matmul.wasm"
        assembler = build.ROOT / "web" / "site_builder" / "wat.mjs"
        source = build.ROOT / "web" / "python" / "matmul.wat"
        subprocess.run([node, str(assembler), str(source), str(wasm)], check=True)
        self.bytes = wasm.stat().st_size
        program = Path(__file__).with_name("matmul-kernel.mjs")
        self.process = subprocess.Popen(
            [node, str(program), str(wasm)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def product(self, a: Floats, b: Floats, margin: int = 0) -> Floats:
        """a (…, m, k) · b (…, k, n), two or fewer of …; `margin` floats stay free in each row."""
        (m, k), n = a.shape[-2:], b.shape[-1]
        batch = (1, 1, *a.shape[:-2])[-2:]
        room = np.zeros((*batch, m, n + margin), np.float32)
        place = {"floats": room.size, "at": 0, "strides": room.strides[:-1]}
        call = {"a": sent(a), "b": sent(b), "c": place, "sizes": (*batch, m, n, k), "fill": FILL}
        answer = self.answer(call)
        assert set(answer["beyond"]) == {FILL}, "it wrote behind its panel"
        found = np.array(answer["bits"], np.uint32).reshape(room.shape)
        assert (found[..., n:] == FILL).all(), "it wrote beside the columns of the result"
        whole = found[..., :n].copy().view(np.float32)
        return whole.reshape(*a.shape[:-1], n)

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """What the program says of one call."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def adamw(self, address: int) -> None:
        """Do what the six ints at an address of this process ask for."""
        *places, n, at_floats = (ctypes.c_int64 * 6).from_address(address)
        arrays = [np.ctypeslib.as_array((ctypes.c_uint32 * n).from_address(at)) for at in places]
        floats = list((ctypes.c_uint32 * 8).from_address(at_floats))
        call = {"arrays": [array.tolist() for array in arrays], "floats": floats, "fill": FILL}
        answer = self.answer(call)
        assert set(answer["beyond"]) == {FILL}, "it wrote beside an array"
        for array, found in zip(arrays, answer["bits"], strict=True):
            array[:] = found

    def exp(self, address: int) -> None:
        """Do what the three ints at an address of this process ask for."""
        at, n, at_table = (ctypes.c_int64 * 3).from_address(address)
        numbers = np.ctypeslib.as_array((ctypes.c_uint32 * n).from_address(at))
        table = list((ctypes.c_uint32 * 64).from_address(at_table))
        answer = self.answer({"numbers": numbers.tolist(), "table": table, "fill": FILL})
        assert set(answer["beyond"]) == {FILL}, "it wrote beside the numbers"
        numbers[:] = answer["bits"]


def sent(array: Floats) -> dict[str, Any]:
    """All that the view's base holds, where the view begins in it, and its strides."""
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    at = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    bits = base.view(np.uint32).ravel().tolist()
    return {"bits": bits, "at": at, "strides": (0, 0, *array.strides)[-4:]}


def in_order(a: Floats, b: Floats) -> Floats:
    """The same product, one k after the other, each product and each sum rounded."""
    total = np.zeros((*a.shape[:-1], b.shape[-1]), np.float32)
    with np.errstate(all="ignore"):
        for k in range(a.shape[-1]):
            total += a[..., :, k, None] * b[..., k, None, :]
    return total


def assert_same_bits(found: Floats, expected: Floats) -> None:
    """Of every number; one NaN is as good as another."""
    nothing = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nothing)
    known = found[~nothing].view(np.uint32), expected[~nothing].view(np.uint32)
    np.testing.assert_array_equal(*known)


def numbers(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.fixture(scope="module")
def kernel(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    running = Kernel(node, tmp_path_factory.mktemp("kernel"))
    yield running
    with running.process:
        running.process.terminate()


SHAPES = [(1, 1, 1), (1, 5, 9), (3, 7, 8), (4, 1, 16), (5, 33, 17), (17, 3, 7), (64, 128, 96)]


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_a_product_has_the_bits_of_a_sum_in_order_and_is_numpys(
    kernel: Kernel, m: int, k: int, n: int
) -> None:
    a, b = numbers(m, k), numbers(k, n, seed=1)
    found = kernel.product(a, b, margin=3)
    assert_same_bits(found, in_order(a, b))
    bound = k * np.finfo(np.float32).eps * (np.abs(a) @ np.abs(b))
    assert (np.abs(found - a @ b) <= bound).all()


@given(
    sizes=st.tuples(*[st.integers(1, 19)] * 3),
    batch=st.lists(st.integers(1, 3), max_size=2),
    turned=st.tuples(st.booleans(), st.booleans()),
    every=st.integers(1, 3),
)
def test_views_of_any_strides_and_batches_are_read_where_they_lie(
    kernel: Kernel,
    sizes: tuple[int, int, int],
    batch: list[int],
    turned: tuple[bool, bool],
    every: int,
) -> None:
    m, k, n = sizes
    shapes = [(m, k), (k, n)]
    factors = []
    for seed, (shape, turn) in enumerate(zip(shapes, turned, strict=True)):
        rows, columns = shape[::-1] if turn else shape
        made = numbers(*batch, rows, columns * every, seed=seed)[..., ::every]
        factors.append(made.swapaxes(-1, -2) if turn else made)
    assert_same_bits(kernel.product(*factors), in_order(*factors))


def test_rows_read_backwards_and_one_row_read_again_and_again(kernel: Kernel) -> None:
    a = numbers(6, 10)[::-1]
    b = np.broadcast_to(numbers(10, 1), (10, 11))
    assert_same_bits(kernel.product(a, b), in_order(a, b))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 3e38, -0.0, 1e-42])
@pytest.mark.parametrize("place", [(0, 0), (2, 3), (5, 6)])
def test_what_is_no_number_or_beyond_them_goes_where_ieee_says(
    kernel: Kernel, special: float, place: tuple[int, int]
) -> None:
    a, b = numbers(6, 7), numbers(7, 9, seed=1)
    a[place] = b[place[1], 2] = special
    expected = in_order(a, b)
    assert_same_bits(kernel.product(a, b), expected)
    assert np.isfinite(np.delete(np.delete(expected, place[0], 0), 2, 1)).all()


def test_infinity_times_nothing_and_infinity_less_infinity_are_no_number(kernel: Kernel) -> None:
    a = np.array([[np.inf, 1.0], [np.inf, -np.inf], [0.0, 0.0]], np.float32)
    b = np.array([[0.0, 1.0], [1.0, 1.0]], np.float32)
    found = kernel.product(a, b)
    assert np.isnan(found).tolist() == [[True, False], [True, True], [False, False]]
    assert found[0, 1] == np.inf
    assert not np.signbit(found[2]).any()


def test_exponentials_are_those_of_doubles_rounded_to_half_a_unit_and_little_more(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.502 units in the last place, says the library whose arithmetic it is."""
    monkeypatch.setattr(operations, "_exp_call", np.zeros(3, np.int64))  # 64 bits here
    monkeypatch.setattr(operations, "_exp_kernel", kernel.exp)
    scales = np.array([1e-6, 1e-3, 1, 10, 60], np.float32)
    x = np.minimum(np.outer(scales, numbers(4000)).ravel(), np.float32(88))
    found = x.copy()
    operations.exponentiate(found)
    exact = np.exp(x.astype(float))
    unit = np.spacing(exact.astype(np.float32)).astype(float)
    assert (np.abs(found - exact) <= 0.503 * unit).all()
    ends = np.array([0, -0.0, np.nan, -np.inf, -104, -103, 88], np.float32)
    operations.exponentiate(ends)
    assert np.array_equal(
        ends, [1, 1, np.nan, 0, 0, 2**-149, np.float32(np.exp(88))], equal_nan=True
    )


def moved(steps: int, size: int) -> list[bytes]:
    """Weights and moments after updates by gradients of every magnitude."""
    draw = np.random.default_rng(0)
    adamw = optimizer.ArrayAdamW(1e-3, undecayed=frozenset({"norm"}))
    weights = {name: draw.standard_normal(size, np.float32) for name in ("matrix", "norm")}
    for number in range(steps):
        gradients = {
            name: draw.standard_normal(size, np.float32)
            * np.float32(10.0 ** draw.integers(-30, 20))
            for name in weights
        }
        with np.errstate(all="ignore"):
            adamw.move(weights, gradients, 1e-3 * number)
    return [array.tobytes() for of in (weights, adamw.first, adamw.second) for array in of.values()]


@pytest.mark.parametrize("size", [4, 128, 4100])
def test_weights_are_moved_to_the_bits_that_numpy_gives(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    with_numpy = moved(6, size)
    monkeypatch.setattr(optimizer, "_ints", np.zeros(6, np.int64))  # addresses here have 64 bits
    asked: list[int] = []
    monkeypatch.setattr(
        optimizer, "_kernel", lambda address: asked.append(1) or kernel.adamw(address)
    )
    assert moved(6, size) == with_numpy
    assert len(asked) == 12


def test_what_the_kernel_cannot_move_numpy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with_numpy = moved(2, 6)
    monkeypatch.setattr(optimizer, "_kernel", lambda _: pytest.fail("six are no multiple of four"))
    assert moved(2, 6) == with_numpy

"""Matrix products of the lab: numpy's, or those of a kernel that a page has put in their place.

In the browser numpy comes without BLAS, and a product of the lab's size takes twenty times as long
as it has to. `web/python/product.wat` does it with the vector instructions of WebAssembly, adding
up in numpy's own order. Everywhere else nothing is put in place, and numpy does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_CALL_INTS: Final = 20
_PANEL_FLOATS: Final = 8  # columns the kernel takes at a time
_ROW_FLOATS: Final = 32  # where it puts the rest of a row whose end is no multiple of that

_kernel: Callable[[int], object] | None = None
_call = np.zeros(_CALL_INTS, np.int32)
_panel = np.zeros(0, np.float32)


def use(kernel: Callable[[int], object] | None) -> None:
    """Let `kernel` do products of fp32 arrays, or numpy again for None.

    It is called with the address of 20 ints: of a, b and out their address and strides in bytes
    (two of the batch, then rows and columns; out's columns lie side by side), the batch's two
    sizes, m, n, k, and the address of 8·k + 32 floats to work in.
    """
    global _kernel
    _kernel = kernel


def product(a: Floats, b: Floats, out: Floats | None = None) -> Floats:
    """a (…, m, k) · b (…, k, n) → (…, m, n) fp32, in `out` if there is one; at most two of …"""
    if _kernel is None or a.ndim > 4 or not (a.dtype == b.dtype == np.float32):
        return np.matmul(a, b, out=out)
    if out is None:
        out = np.empty((*a.shape[:-1], b.shape[-1]), np.float32)
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    nothing = 0 in (*out.shape, k)  # the kernel counts down to none, and from none for ever
    if nothing or out.strides[-1] != out.itemsize or a.shape[:-2] != b.shape[:-2]:
        return np.matmul(a, b, out=out)
    global _panel
    if (wanted := _PANEL_FLOATS * k + _ROW_FLOATS) > len(_panel):
        _panel = np.empty(wanted, np.float32)
    batch = (1, 1, *a.shape[:-2])[-2:]
    _call[:] = (*_place(a), *_place(b), *_place(out)[:-1], *batch, m, n, k, _address(_panel))
    _kernel(_address(_call))
    return out


def _place(array: Floats) -> tuple[int, ...]:
    return _address(array), *(0, 0, *array.strides)[-4:]


def _address(array: NDArray[np.float32] | NDArray[np.int32]) -> int:
    return int(array.__array_interface__["data"][0])

"""Allocator messages of PyTorch and NumPy."""

import numpy as np
import pytest
import torch

from gpu_runner.memory.limit import AllocatorMessage

MIB, GIB = 2**20, 2**30
NEW = (
    "CUDA out of memory. Tried to allocate 1.95 GiB. GPU 0 has a total capacity of 14.57 GiB of"
    " which 1.58 GiB is free. Process 2493055 has 12.02 GiB memory in use. Including non-PyTorch"
    " memory, this process has 966.00 MiB memory in use. Of the allocated memory 734.07 MiB is"
    " allocated by PyTorch, and 33.93 MiB is reserved by PyTorch but unallocated. If reserved but"
    " unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True"
)


def test_all_numbers_of_a_gpu_message_are_read() -> None:
    found = AllocatorMessage.parse(torch.OutOfMemoryError(NEW))
    assert found.requested_bytes == round(1.95 * GIB)
    assert found.total_bytes == round(14.57 * GIB)
    assert found.free_bytes == round(1.58 * GIB)
    assert found.allocated_bytes == round(734.07 * MIB)
    assert found.unused_bytes == round(33.93 * MIB)
    assert found.others == ((2493055, round(12.02 * GIB)),)
    assert not found.is_fragmented


def test_memory_is_fragmented_is_more_than_was_asked_for() -> None:
    text = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 24.00 GiB of"
        " which 0 bytes is free. Of the allocated memory 20.00 GiB is allocated by PyTorch, and"
        " 3.50 GiB is reserved by PyTorch but unallocated."
    )
    assert AllocatorMessage.parse(RuntimeError(text)).is_fragmented


def test_the_message_of_pytorch_on_this_cpu_is_read() -> None:
    with pytest.raises(RuntimeError) as thrown:
        torch.empty(2**56, dtype=torch.uint8)
    assert AllocatorMessage.parse(thrown.value).requested_bytes == 2**56


def test_the_message_of_numpy_is_read() -> None:
    with pytest.raises(MemoryError) as thrown:
        np.empty(2**48, dtype=np.uint8)
    assert AllocatorMessage.parse(thrown.value).requested_bytes == 2**48


@pytest.mark.parametrize(
    "text",
    ["", "CUDA error: out of memory", "tried to allocate ten GiB", "Tried to allocate 9e999 GiB"],
)
def test_a_message_without_numbers_has_none(text: str) -> None:
    assert AllocatorMessage.parse(MemoryError(text)) == AllocatorMessage()

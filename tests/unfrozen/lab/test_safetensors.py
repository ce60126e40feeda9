"""Weights are read as the safetensors library writes them; damage is reported."""

import numpy as np
import pytest
import torch
from safetensors.torch import save

from unfrozen.errors import PlanError
from unfrozen.lab.demo import read_tensors

TENSORS = {
    "a": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
    "b": torch.arange(4).to(torch.bfloat16) / 3,
    "c": torch.tensor([1.5, -2.25], dtype=torch.float16),
    "scalar": torch.tensor(7.0),
}


def test_every_number_comes_back_exactly_and_as_fp32() -> None:
    found = read_tensors(save(TENSORS, {"format": "pt"}))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], tensor.float().numpy())


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_a_file_that_broke_off_is_refused(size: int) -> None:
    with pytest.raises(PlanError, match="fetch it again"):
        read_tensors(save(TENSORS)[:size])


def test_a_file_of_something_else_is_refused() -> None:
    for data in (b"<!doctype html>" * 50, (8).to_bytes(8, "little") + b"notjson!"):
        with pytest.raises(PlanError, match="fetch it again"):
            read_tensors(data)


def test_a_precision_that_numpy_lacks_is_named() -> None:
    with pytest.raises(PlanError, match=r"safetensors\.a: got 'F8_E4M3'"):
        read_tensors(save({"a": torch.zeros(2).to(torch.float8_e4m3fn)}))

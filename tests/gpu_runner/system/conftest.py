"""One library of GPUs for all tests here."""

from pathlib import Path
from types import ModuleType

import pytest

import stand_in_gpus


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """NVIDIA's own Python module over the stand-in."""
    return stand_in_gpus.loaded(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def gpus_file(nvml: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the library looks; the environment is that of a machine with GPUs of its own."""
    del nvml
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NVML_STAND_IN", "")
    return tmp_path / "GPUs"

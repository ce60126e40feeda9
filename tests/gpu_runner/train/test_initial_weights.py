from pathlib import Path

import pytest
import torch

import tiny_llama
from gpu_runner.errors import CheckpointError, SystemFailure
from gpu_runner.model.load import Source, find
from gpu_runner.train.initial_weights import find_initial_weights


def test_an_untrained_model_has_not_moved(model_dir: Path, tmp_path: Path) -> None:
    drift = find_initial_weights(
        find(str(model_dir)), tiny_llama.model(), tmp_path, untrained=True
    ).drift(tiny_llama.model())
    assert drift.total == 0.0
    assert drift.layers == {"embed_tokens": 0.0, "layers.0": 0.0, "layers.1": 0.0, "norm": 0.0}


def test_drift_is_the_norm_of_the_change_over_the_norm_of_the_start(
    model_dir: Path, tmp_path: Path
) -> None:
    model = tiny_llama.model()
    start = find_initial_weights(find(str(model_dir)), model, tmp_path, untrained=True)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1.5)
        drift = start.drift(model)
        initial = tiny_llama.model()
        change = 0.5 * initial.model.layers[1].mlp.up_proj.weight.norm()
        norm = torch.stack([p.norm() for p in initial.parameters()]).norm()
    assert drift.total == pytest.approx(float(change / norm), rel=1e-5)
    assert [name for name, ratio in drift.layers.items() if ratio] == ["layers.1"]


def test_weights_without_a_safetensors_file_are_kept_once(tmp_path: Path) -> None:
    source = Source("gguf", "x", str(tmp_path), "x.gguf")
    model = tiny_llama.model()
    find_initial_weights(source, model, tmp_path, untrained=True)
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    again = find_initial_weights(source, model, tmp_path, untrained=False)
    assert again.drift(model).layers["norm"] == pytest.approx(1.0)


def test_a_resumed_run_never_takes_trained_weights_for_the_start(tmp_path: Path) -> None:
    source = Source("gguf", "x", str(tmp_path), "x.gguf")
    with pytest.raises(CheckpointError, match="initial weights"):
        find_initial_weights(source, tiny_llama.model(), tmp_path, untrained=False)


@pytest.mark.usefixtures("full_disk")
def test_where_the_disk_is_full_no_part_of_the_start_stays(tmp_path: Path) -> None:
    source = Source("gguf", "x", str(tmp_path), "x.gguf")
    with pytest.raises(SystemFailure, match=r"initial\.safetensors could not be written"):
        find_initial_weights(source, tiny_llama.model(), tmp_path, untrained=True)
    assert list(tmp_path.iterdir()) == []

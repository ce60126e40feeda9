import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils.hub import constants  # type: ignore[attr-defined]

import tiny_llama
from gpu_runner.errors import CheckpointError, SystemFailure
from gpu_runner.model.load import Source, find, load, load_tokenizer
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
    with pytest.raises(CheckpointError, match="pre-trained weights are neither"):
        find_initial_weights(source, tiny_llama.model(), tmp_path, untrained=False)


@pytest.mark.usefixtures("full_disk")
def test_where_the_disk_is_full_no_part_of_the_start_stays(tmp_path: Path) -> None:
    source = Source("gguf", "x", str(tmp_path), "x.gguf")
    with pytest.raises(SystemFailure, match=r"initial\.safetensors could not be written"):
        find_initial_weights(source, tiny_llama.model(), tmp_path, untrained=True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Source, Path, Any]:
    """A model as the hub's client has downloaded it, its files, and the loaded model."""
    repository = tmp_path / "hub" / "models--owner--tiny"
    files = tiny_llama.directory(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = find("owner/tiny")
    model = load(source, load_tokenizer(source), "fp32", torch.device("cpu"))
    (tmp_path / "run").mkdir()
    return source, files, model


def test_a_model_of_the_hub_is_read_in_its_cache_and_not_written_again(
    of_the_hub: tuple[Source, Path, Any], tmp_path: Path
) -> None:
    source, files, model = of_the_hub
    run, repository = tmp_path / "run", files.parents[1]
    start = find_initial_weights(source, model, run, untrained=True)
    assert start.files == (files / "model.safetensors",)
    assert start.drift(model).total == 0.0
    assert sum(file.stat().st_size for file in run.iterdir()) < 100
    newer = shutil.copytree(files, files.with_name("b" * 40))
    (repository / "refs" / "main").write_text(newer.name)  # downloaded since
    again = find_initial_weights(source, model, run, untrained=False)
    assert again.files == start.files


def test_weights_that_are_gone_or_changed_are_named_with_what_to_do(
    of_the_hub: tuple[Source, Path, Any], tmp_path: Path
) -> None:
    source, files, model = of_the_hub
    start = find_initial_weights(source, model, tmp_path / "run", untrained=True)
    start.drift(model)
    (files / "model.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"model\.safetensors .* has changed: put the model"):
        start.drift(model)
    shutil.rmtree(files)
    with pytest.raises(CheckpointError, match=r"is gone: put the model back"):
        start.drift(model)
    with pytest.raises(CheckpointError, match=f"hf download owner/tiny --revision {'a' * 40}"):
        find_initial_weights(source, model, tmp_path / "run", untrained=False)


def test_a_note_that_names_no_revision_is_refused(
    of_the_hub: tuple[Source, Path, Any], tmp_path: Path
) -> None:
    source, _, model = of_the_hub
    for text in ('{"revision": "../../etc"}', "[]", "nul", '{"revision": 1}'):
        (tmp_path / "run" / "initial.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"initial\.json"):
            find_initial_weights(source, model, tmp_path / "run", untrained=False)

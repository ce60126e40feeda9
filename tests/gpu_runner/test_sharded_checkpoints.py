"""Checkpoints that every process writes its part of: read by any number, exported."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import run_process
import tiny_families
import tiny_llama
from conftest import matrix
from gpu_runner.checkpoint import directory
from gpu_runner.errors import CheckpointError, ModelLoadError, UsageError
from gpu_runner.model.load import find
from gpu_runner.run.export_model import export_model
from gpu_runner.world.sharded_files import StoredTensors
from run_process import events

pytestmark = pytest.mark.slow


def three_steps(model_dir: Path, sums_file: Path) -> dict[str, Any]:
    """With a constant rate more steps are as if they had been asked for from the start."""
    steps = {"steps": 3, "eval_every": 3, "save_every": 3, "lr": 1e-3, "schedule": "constant"}
    more = {"grad_accum": 2, "micro_batch": 1, "warmup": 0, "sample_tokens": 0, "general": ()}
    return {"model": str(model_dir), "data": str(sums_file), **steps, **more}


@pytest.fixture
def options(model_dir: Path, sums_file: Path) -> dict[str, Any]:
    return three_steps(model_dir, sums_file)


@pytest.fixture(scope="module")
def run_of_shards(
    model_dir: Path, sums_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of three steps on two processes, to be copied."""
    return trained(three_steps(model_dir, sums_file), tmp_path_factory.mktemp("shards"), 2)


@pytest.fixture
def in_shards(run_of_shards: Path, tmp_path: Path) -> Path:
    """Its copy."""
    return Path(shutil.copytree(run_of_shards, tmp_path / "copy" / run_of_shards.name))


def trained(options: dict[str, Any], runs: Path, processes: int) -> Path:
    """The directory of a run that went to its end."""
    live(run_process.train_here, options | {"runs": str(runs)}, processes)
    (run,) = runs.iterdir()
    return run


def live(target: Any, argument: Any, processes: int) -> None:
    if processes == 1:
        child = run_process.children().Process(target=target, args=(argument,))
        child.start()
        started = [child]
    else:
        started = run_process.together(target, argument, processes)
    for child in started:
        child.join()
    assert [child.exitcode for child in started] == [0] * processes


def last_of(run: Path) -> Path:
    newest, refused = directory.newest(run / "checkpoints")
    assert newest is not None
    assert refused == []
    return newest


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def moments(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the optimizer, whole, without random states."""
    files = [*checkpoint.glob("optimizer.safetensors"), *checkpoint.glob("optimizer/*")]
    stored = StoredTensors(files)
    with stored.reading() as reader:
        names = (name for name in stored.names() if not name.startswith("rng."))
        return {name: reader.rows(name).clone() for name in names}


def assert_close(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        close = tolerance * max(1e-12, float(tensor.abs().max()))
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=close, msg=lambda _: name)  # noqa: B023


def test_shards_hold_what_whole_files_hold(
    options: dict[str, Any], in_shards: Path, tmp_path: Path
) -> None:
    one, two = trained(options | {"checkpoint_files": "whole"}, tmp_path / "whole", 2), in_shards
    whole, cut = last_of(one), last_of(two)
    assert (whole / "model.safetensors").exists()
    assert sorted(p.name for p in (cut / "weights").iterdir()) == [
        "shard-00001-of-00002.safetensors",
        "shard-00002-of-00002.safetensors",
    ]
    assert not (cut / "model.safetensors").exists()
    assert_close(moments(whole), moments(cut), 0.0)
    for file in ("model.safetensors", "config.json", "generation_config.json"):
        assert (one / "model" / file).read_bytes() == (two / "model" / file).read_bytes()
    names = {path.suffix for path in cut.rglob("*") if path.is_file()}
    assert names <= {".json", ".safetensors", ".jinja"}  # nothing that could run code
    sizes = [sum(f.stat().st_size for f in cut.rglob(f"shard-0000{n}-*")) for n in (1, 2)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.1)


@pytest.mark.parametrize(
    ("family", "copies"),
    matrix(itertools.product(("llama", "mixtral"), (1, 2)), ("mixtral", 2)),
)
def test_four_two_one_and_four_processes_go_on_with_each_others_shards(
    family: str, copies: int, options: dict[str, Any], tmp_path: Path
) -> None:
    model = tmp_path / "model"
    tiny_families.model(family, "eager").save_pretrained(model)
    tiny_llama.tokenizer().save_pretrained(model)
    options |= {"model": str(model), "grad_accum": 4}
    if family == "mixtral":  # whose experts are stacked
        options |= {"ewc": 0.5, "l2sp": 0.1, "fisher_data": options["data"], "fisher_rows": 4}
    alone = trained(options | {"steps": 6}, tmp_path / "alone", 1)
    cut = {"checkpoint_files": "shards", **({"shard_size": 2} if copies == 2 else {})}
    run = trained(options | cut, tmp_path / "changing", 4)
    for steps, processes in ((4, 2), (5, 1), (6, 4)):
        live(run_process.resume_further, (str(run), steps), processes)
    assert last_of(run).name == "step-000006"
    assert_close(weights(alone), weights(run), 2e-5)
    expected = moments(last_of(alone))
    assert_close(expected, moments(last_of(run)), 2e-4)
    losses = [run_process.losses(each) for each in (alone, run)]
    for step, pair in losses[0].items():
        assert losses[1][step] == pytest.approx(pair, rel=1e-5), step
    if family == "mixtral":
        assert_held_from_shards(run, alone)


def assert_held_from_shards(run: Path, alone: Path) -> None:
    """What held the weights back, and how far they went, was read from shards of their start."""
    first = sorted(p.name for p in (run / "initial" / "weights").iterdir())[0]
    assert first.startswith("shard-")
    assert (run / "fisher" / "manifest.json").exists()
    assert not list(run.glob("*.safetensors"))
    drifts = [[e["total"] for e in events(r) if e["kind"] == "drift"] for r in (alone, run)]
    assert drifts[1][-1] == pytest.approx(drifts[0][-1], rel=1e-4)


def test_the_same_processes_go_on_to_the_last_bit(
    options: dict[str, Any], in_shards: Path, tmp_path: Path
) -> None:
    once, twice = trained(options | {"steps": 6}, tmp_path / "once", 2), in_shards
    live(run_process.resume_further, (str(twice), 6), 2)
    assert_close(weights(once), weights(twice), 0.0)
    for kind in ("weights", "optimizer"):
        for file in (last_of(once) / kind).iterdir():
            assert file.read_bytes() == (last_of(twice) / kind / file.name).read_bytes()


def eagerly(given: tuple[Callable[[Any], None], Any]) -> None:
    """Run a target without the compiler, which torchao would have work for half a minute."""
    target, argument = given
    torch.compiler.set_stance("force_eager")
    target(argument)


def test_moments_of_8_bits_go_on_to_the_last_bit(options: dict[str, Any], tmp_path: Path) -> None:
    sizes = dict.fromkeys(("hidden_size", "intermediate_size"), 256)
    tiny_llama.model(**sizes, head_dim=64).save_pretrained(tmp_path / "model")
    tiny_llama.tokenizer().save_pretrained(tmp_path / "model")
    options |= {"model": str(tmp_path / "model"), "optimizer": "adamw8bit"}
    for name, steps in (("once", 6), ("twice", 3)):
        given = options | {"steps": steps, "runs": str(tmp_path / name)}
        live(eagerly, (run_process.train_here, given), 2)
    once, twice = (next((tmp_path / name).iterdir()) for name in ("once", "twice"))
    live(eagerly, (run_process.resume_further, (str(twice), 6)), 2)
    assert_close(weights(once), weights(twice), 0.0)
    for file in (last_of(once) / "optimizer").iterdir():
        assert file.read_bytes() == (last_of(twice) / "optimizer" / file.name).read_bytes()
    assert any("codes" in name for name in moments(last_of(once)))


def test_whole_files_and_shards_follow_one_another(options: dict[str, Any], tmp_path: Path) -> None:
    one = trained(options | {"checkpoint_files": "whole"}, tmp_path / "run", 1)
    live(run_process.resume_further, (str(one), 4), 2)
    config = json.loads((one / "config.json").read_text())
    (one / "config.json").write_text(json.dumps(config | {"checkpoint_files": "auto"}))
    live(run_process.resume_further, (str(one), 5), 2)
    assert (last_of(one) / "weights").is_dir()
    live(run_process.resume_further, (str(one), 6), 1)
    assert (last_of(one) / "model.safetensors").is_file()
    alone = trained(options | {"steps": 6}, tmp_path / "alone", 1)
    assert_close(weights(alone), weights(one), 2e-5)


def test_a_damaged_shard_is_passed_over(in_shards: Path) -> None:
    run = in_shards
    shutil.copytree(last_of(run), run / "checkpoints" / "step-000002")
    file = last_of(run) / "optimizer" / "shard-00002-of-00002.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    newest, (refused,) = directory.newest(run / "checkpoints")
    assert newest is not None
    assert newest.name == "step-000002"
    assert "shard-00002-of-00002.safetensors is not the file that was saved" in refused
    file.unlink()
    assert "is missing" in directory.newest(run / "checkpoints")[1][0]


def test_early_stop_goes_back_to_the_best_shards(options: dict[str, Any], tmp_path: Path) -> None:
    early = {"steps": 60, "eval_every": 1, "early_stop": 2, "lr": 0.5}
    runs = [
        trained(options | early | {"checkpoint_files": files}, tmp_path / files, 2)
        for files in ("whole", "shards")
    ]
    ends = [events(run)[-1] for run in runs]
    assert ends[0]["reason"] == ends[1]["reason"]
    assert "has not fallen" in ends[0]["reason"]
    assert_close(weights(runs[0]), weights(runs[1]), 0.0)


def test_an_export_is_a_model_that_transformers_loads(
    options: dict[str, Any], tmp_path: Path
) -> None:
    run = trained(options | {"keep_state": True}, tmp_path / "run", 2)
    (run / "finished").unlink()
    saved = export_model(run).saved
    assert saved.path == run / "export" / "hf"
    expected = weights(run)
    assert_close(expected, load_file(saved.path / "model.safetensors"), 0.0)
    assert (saved.path / "config.json").read_bytes() == (run / "model/config.json").read_bytes()
    narrow = export_model(run, tmp_path / "narrow", "bf16").saved.path
    found = load_file(narrow / "model.safetensors")
    assert all(torch.equal(found[n], t.to(torch.bfloat16)) for n, t in expected.items())
    loaded = AutoModelForCausalLM.from_pretrained(narrow)
    assert loaded.dtype == torch.bfloat16
    assert find(str(narrow)).kind == "directory"
    again = export_model(run, tmp_path / "again", step=3).saved.path
    assert_close(expected, load_file(again / "model.safetensors"), 0.0)


def test_what_cannot_be_exported_is_refused(in_shards: Path) -> None:
    run = in_shards
    with pytest.raises(UsageError, match=r"--dtype 'fp8' is unknown: choose fp32 or bf16"):
        export_model(run, dtype="fp8")
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 4; it has 3\."):
        export_model(run, step=4)
    with pytest.raises(ModelLoadError, match=r"is in shards: unfrozen export"):
        find(str(last_of(run)))


@pytest.mark.parametrize(
    ("files", "processes"),
    matrix([("shards", 2), ("whole", 1), ("shards", 1)], ("shards", 2), ("whole", 1)),
)
def test_steps_go_on_while_a_checkpoint_is_written_and_nothing_changes(
    files: str, processes: int, options: dict[str, Any], tmp_path: Path
) -> None:
    many = options | {"save_every": 1, "checkpoint_files": files}
    one = trained(many, tmp_path / "waiting", processes)
    two = trained(many | {"async_checkpoints": True}, tmp_path / "beside", processes)
    assert_close(weights(one), weights(two), 0.0)
    found = [*last_of(one).rglob("*.safetensors")]
    assert len(found) == 2 * processes
    for file in found:
        assert file.read_bytes() == (last_of(two) / file.relative_to(last_of(one))).read_bytes()
    saved = [[e["step"] for e in events(run) if e["kind"] == "checkpoint"] for run in (one, two)]
    assert saved[0] == saved[1]
    assert not list(two.rglob("*.tmp"))

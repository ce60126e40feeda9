"""Whatever a person gets wrong: one message with value, bound and remedy, and its exit code."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import tiny_llama
from gpu_runner.cli.application import application
from gpu_runner.config import bounds
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import ALLOWED, RANGES
from gpu_runner.errors import MEANINGS, ExitCode
from gpu_runner.log.writer import EventLog, SystemClock

DEMO = ["train", "--model", "demo"]


def runner(*arguments: str) -> Result:
    """`python -m gpu_runner …`, in this process."""
    return CliRunner(env={"COLUMNS": "400"}).invoke(application(), list(arguments))


def assert_refused(done: Result, code: ExitCode, *parts: str) -> None:
    """One message in one paragraph, no traceback, and the documented code."""
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit)
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    for part in parts:
        assert part in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", RANGES)
def test_a_number_out_of_bounds_says_itself_and_its_bounds(name: str) -> None:
    low, high = RANGES[name]
    whole = name not in ("epochs", "lr") and isinstance(low, int)
    for value in (high * 2 + 1, -1):
        shown = int(value) if whole else float(value)
        done = runner(*DEMO, "--set", f"{name}={shown}")
        option = f"--{name.replace('_', '-')}"
        assert_refused(
            done,
            ExitCode.USAGE,
            f"Error: {option} {shown}",
            f"from {bounds.format_bound(low)} to {bounds.format_bound(high)}",
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ALLOWED)
def test_an_unknown_word_is_answered_with_the_known_ones(name: str) -> None:
    done = runner(*DEMO, "--set", f"{name}=nonsense")
    assert_refused(done, ExitCode.USAGE, name, "'nonsense'", *ALLOWED[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--steps", "3", "--epochs", "2"], ("--steps 3 and --epochs 2", "give one of them")),
        (["--steps", "3", "--warmup", "4"], ("--warmup 4", "give at most 3")),
        (["--params", "bf16", "--compute", "fp32"], ("Give --compute auto, or --params fp32",)),
        (["--set", "momentum=0.9"], ("--momentum 0.9", "only sgd takes one")),
        (["--set", "rounding=kahan"], ("--rounding kahan", "give --params bf16")),
        (["--replay-share", "0.5"], ("--replay-share 0.5 has no effect", "give --replay")),
        (["--set", "fisher_rows=8"], ("--fisher-rows 8 has no effect", "give --ewc a strength")),
        (["--data", ""], ("--data is empty", "give a path")),
        (["--out", "~nobody-of-this-name/x"], ("--out '~nobody", "cannot be a path")),
        (["--eval-data", "x" * 300], ("--eval-data 'xxx", "File name too long")),
        (["--set", "optimizer_in_backward=true", "--set", "l2sp=1"], ("--optimizer-in-backward",)),
        (["--set", "optimizer_offload=true", "--set", "ewc=1"], ("are in CPU memory before",)),
        (
            ["--set", "optimizer_offload=true", "--set", "optimizer=muon"],
            ("--optimizer muon steps where the weights are", "choose adamw"),
        ),
        (
            ["--params", "bf16", "--set", "optimizer_offload=true", "--set", "rounding=kahan"],
            ("--rounding kahan with --optimizer-offload", "give --rounding nearest"),
        ),
        (["--set", "modle=x"], ("modle is not a setting of a run", "did you mean model")),
        (["--set", "lr=fast"], ("lr is 'fast'", "it must be a number")),
        (["--set", "lr"], ("'lr' is not key=value",)),
        (["--general", "math"], ("'math' is not NAME=FILE",)),
        (["--config", "none.toml"], ("--config none.toml", "cannot be read")),
    ],
)
def test_options_that_exclude_each_other_are_explained_before_anything_is_loaded(
    options: list[str], parts: tuple[str, ...], tmp_path: Path
) -> None:
    done = runner(*DEMO, *options, "--runs", str(tmp_path / "runs"))
    assert_refused(done, ExitCode.USAGE, *parts)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("has no rows", "give a file with at least one")),
        ('{"text": "a"}\n[1]\n', ("rows.jsonl:2", "this is a list")),
        ('{"text": "a"}\n{"txet": "b"}\n', ("rows.jsonl:2", "txet")),
        (
            '{"prompt": "a long question", "completion": "b"}\n' * 3,
            ("0 of 2 examples have trainable tokens", "raise --seq-len"),
        ),
        ('{"text": 7}\n{"text": "b"}\n', ("rows.jsonl:1", "text")),
    ],
)
def test_data_that_cannot_be_trained_on_say_where_and_why(
    model_dir: Path, tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(text)
    short = ["--seq-len", "4", "--runs", str(tmp_path / "runs")]
    done = runner("train", "--model", str(model_dir), "--data", str(rows), *short)
    assert_refused(done, ExitCode.DATA, *parts)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A model directory of its own, to be broken."""
    return tiny_llama.directory(tmp_path / "broken")


def train_on(model: Path, sums_file: Path, *more: str) -> Result:
    options = ["--general", "none", "--steps", "1", "--runs", str(model.parent / "runs")]
    return runner("train", "--model", str(model), "--data", str(sums_file), *options, *more)


def test_a_missing_weight_is_refused_by_its_name(broken: Path, sums_file: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    done = train_on(broken, sums_file)
    assert_refused(done, ExitCode.MODEL, "1 missing weights: model.layers.1.mlp.up_proj.weight")


def test_an_unexpected_weight_is_refused_by_its_name(broken: Path, sums_file: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.extra.weight"] = weights["model.norm.weight"].clone()
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    done = train_on(broken, sums_file)
    assert_refused(done, ExitCode.MODEL, "1 unexpected weights: model.layers.1.mlp.extra.weight")


def test_a_tokenizer_larger_than_the_embedding_is_refused(broken: Path, sums_file: Path) -> None:
    tiny_llama.model(vocab_size=200).save_pretrained(broken)
    done = train_on(broken, sums_file)
    assert_refused(done, ExitCode.MODEL, "tokenizer has 257 tokens, the embedding 200 rows")


@pytest.mark.parametrize(
    ("file", "text", "parts"),
    [
        ("config.json", "{", ("config.json cannot be read as JSON",)),
        ("config.json", "[]", ("must be a JSON object",)),
        ("model.safetensors", "rubbish", ("the weights of model", "Download the file again")),
        ("tokenizer.json", "{}", ("the tokenizer of model", "cannot be loaded")),
    ],
)
def test_a_damaged_model_file_is_reported_in_one_sentence(
    broken: Path, sums_file: Path, file: str, text: str, parts: tuple[str, ...]
) -> None:
    (broken / file).write_text(text)
    assert_refused(train_on(broken, sums_file), ExitCode.MODEL, str(broken.name), *parts)


@pytest.mark.slow
def test_weights_that_are_not_there_are_named_before_anything_is_read(broken: Path) -> None:
    index = broken / "model.safetensors.index.json"
    plan = ["train", "--dry-run", "--model", str(broken), "--data", "nowhere.jsonl"]
    (broken / "model.safetensors").rename(broken / "first.safetensors")
    done = runner(*plan)
    assert_refused(done, ExitCode.MODEL, "has no weights", "first.safetensors is not read")
    index.write_text(json.dumps({"weight_map": {"a": "first.safetensors", "b": "second"}}))
    done = runner(*plan)
    assert_refused(done, ExitCode.MODEL, "of the 2 files", "1 are not there: second. Download")
    index.write_text("{}")
    assert_refused(runner(*plan), ExitCode.MODEL, "of the 0 files of weights")
    index.unlink()
    (broken / "first.safetensors").unlink()
    (broken / "pytorch_model.bin").write_text("rubbish")
    done = runner("train", *plan[2:4], "--data", "instruct", "--runs", str(broken.parent / "runs"))
    assert_refused(done, ExitCode.MODEL, "may run programs. Get the model as safetensors.")


@pytest.mark.parametrize("text", ["", "rubbish"])
def test_a_file_that_is_no_gguf_comes_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.gguf").write_text(text)
    done = runner(
        "train", "--dry-run", "--model", str(tmp_path / "model.gguf"), "--data", "instruct"
    )
    assert_refused(done, ExitCode.MODEL, "model.gguf", "Download the file again, or another one.")


def test_a_folder_of_adapters_is_told_apart_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    done = runner("train", "--dry-run", "--model", str(tmp_path), "--data", "instruct")
    assert_refused(done, ExitCode.MODEL, "has no config.json", "It holds adapters: merge them")


def test_a_model_that_transformers_does_not_know_comes_with_what_to_do(
    broken: Path, sums_file: Path
) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"model_type": "llama9"}))
    done = train_on(broken, sums_file)
    assert_refused(done, ExitCode.MODEL, "does not know its model_type. Update it (pip install -U")


def test_a_configuration_that_lies_about_a_size_is_refused(broken: Path, sums_file: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    done = train_on(broken, sums_file)
    assert_refused(done, ExitCode.MODEL, "mismatched weights", "mlp.down_proj.weight")


def test_a_result_that_could_not_be_written_is_refused_before_the_first_step(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "model"
    done = train_on(model_dir, sums_file, "--out", str(out), "--runs", str(tmp_path / "runs"))
    assert_refused(done, ExitCode.SYSTEM, f"--out {out}", "cannot write a model there")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_never_began_leaves_nothing_behind(
    broken: Path, sums_file: Path, tmp_path: Path
) -> None:
    (broken / "model.safetensors").write_text("rubbish")
    done = train_on(broken, sums_file, "--runs", str(tmp_path / "runs"))
    assert done.exit_code == ExitCode.MODEL
    assert not list((tmp_path / "runs").iterdir())


def test_a_run_whose_choices_were_damaged_is_not_resumed(tmp_path: Path) -> None:
    kept = resolve({"model": "demo"}).as_json()
    for damaged, part in (({"lr": "x"}, "not str"), ({"lr": 7.0}, "--lr 7.0 is out of bounds")):
        (tmp_path / "config.json").write_text(json.dumps(kept | damaged))
        done = runner("resume", str(tmp_path))
        assert_refused(done, ExitCode.CHECKPOINT, "config.json cannot be read", part)


def test_the_folder_of_a_model_is_no_run_to_resume(model_dir: Path) -> None:
    done = runner("resume", str(model_dir))
    assert_refused(done, ExitCode.CHECKPOINT, "architectures", "is not a setting of a run")


def test_rows_of_the_fisher_that_are_not_there_are_missed_before_the_model_is_loaded() -> None:
    done = runner(*DEMO, "--set", "ewc=1", "--set", "fisher_data=none.jsonl")
    assert_refused(done, ExitCode.DATA, "--fisher-data none.jsonl: there is no such file")


def test_runs_that_are_a_file_are_not_served(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "index.html").write_text("")
    place = ["--runs", str(tmp_path / "file"), "--site", str(tmp_path), "--no-open", "--port", "0"]
    assert_refused(runner("serve", *place), ExitCode.USAGE, "file is a file: give the directory")


def test_a_run_that_another_process_trains_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(resolve({"model": "demo"}).as_json()))
    with EventLog(tmp_path / "events.jsonl", run="r", clock=SystemClock()) as log:
        log.emit("metrics", 1, m={})
        done = runner("resume", str(tmp_path))
    assert_refused(done, ExitCode.CHECKPOINT, "is being trained by another process")


def test_help_says_what_every_exit_code_means() -> None:
    assert MEANINGS.keys() == set(ExitCode)
    text = " ".join(runner("--help").stdout.split())
    assert not [
        (code, meaning)
        for code, meaning in MEANINGS.items()
        if f"{code.value} {meaning}" not in text
    ]

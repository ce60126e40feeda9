"""Whatever stands in place of a file: each reader answers in words, in little time and memory."""

import os
import re
import resource
import shutil
import signal
import socket
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from conftest import matrix
from gpu_runner import address, atomic
from gpu_runner.checkpoint import training_state
from gpu_runner.config.load import read_toml
from gpu_runner.data import run_data
from gpu_runner.data.rows import SourceReader
from gpu_runner.errors import RunnerError
from gpu_runner.log import sample_logs
from gpu_runner.log.import_runs import import_runs
from gpu_runner.model import load
from gpu_runner.run.directory import read_config
from gpu_runner.world.sharded_files import StoredTensors
from unfrozen.__main__ import main

SECONDS, ROOM_BYTES, SPARSE_BYTES = 10, 2**30, 10 * 2**30
DEEP, LONG = 100_000, "9" * 100_000


def pipe(place: Path) -> None:
    os.mkfifo(place)


def folder(place: Path) -> None:
    place.mkdir()


def endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def a_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(place.parent)  # an address has at most 108 bytes
        one.bind(place.name)


def link_to_itself(place: Path) -> None:
    place.symlink_to(place.name)


def sparse(place: Path) -> None:
    with place.open("xb") as file:
        file.truncate(SPARSE_BYTES)


KINDS = [pipe, folder, endless, a_socket, link_to_itself, sparse]
TEXTS = {
    "deep lists": b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP,
    "infinity": b'{"hidden_size": 1e400, "steps": 1e400, "files": {"a": {"bytes": 1e400}}}',
    "digits": f'{{"hidden_size": {LONG}, "steps": {LONG}}}'.encode(),
    "names that are no text": b'{"\\ud800": NaN, "hidden_size": "\\udfff", "prompt": "\\ud800"}',
    "zeros": b"\x00" * 1000,
    "no UTF-8": b'{"model_type": "\xff\xfe", "prompt": "\xc3"}\n',
    "cut off": b'{"model_type": "llama", "prompt": "a',
    "no object": b"[1, null, [2]]",
    "footer of a table": b"PAR1" + b"\xff" * 100 + (90).to_bytes(4, "little") + b"PAR1",
    "footer without end": b"PAR1" + b"\xff" * 100 + (2**31).to_bytes(4, "little") + b"PAR1",
    "database": b"SQLite format 3\x00" + b"\xff" * 100,
    "weights elsewhere": b'{"weight_map": {"lm_head.weight": "/etc/passwd", "a": [1]}}',
    "nothing": b"",
}


def write(text: bytes, place: Path) -> None:
    place.write_bytes(text)


FILES: dict[str, Callable[[Path], None]] = {
    **{make.__name__: make for make in KINDS},
    **{name: partial(write, text) for name, text in TEXTS.items()},
}


def in_place_of(name: str, read: Callable[[Path], object]) -> Callable[[Path, Path], object]:
    """Reads a model's folder, a file of which is foreign."""

    def reader(file: Path, model: Path) -> object:
        place = Path(shutil.copytree(model, file.parent / "model"))
        (place / name).unlink(missing_ok=True)
        file.rename(place / name)
        return read(place)

    return reader


def model_of(place: Path) -> object:
    """All of a model, as a run reads it."""
    source = load.find(str(place))
    tokenizer = load.load_tokenizer(source)
    return load.load(source, tokenizer, "fp32", torch.device("cpu"))


def model_by_index(place: Path) -> object:
    """The same of one whose weights are in several files."""
    (place / "model.safetensors").unlink()
    return model_of(place)


def planned(*options: str) -> None:
    """The planner's command line, which says on stderr what it refuses."""
    try:
        code: object = main(["plan", *options])
    except SystemExit as ended:
        code = ended.code
    assert code in (0, 2)


def under_a_name(name: str, read: Callable[[Path], object]) -> Callable[[Path, Path], object]:
    """Reads a file that has this name."""

    def reader(file: Path, _: Path) -> object:
        return read(file.rename(file.with_name(name)))

    return reader


def rows(name: str) -> Callable[[Path, Path], object]:
    return under_a_name(name, lambda file: [*SourceReader(str(file))])


def imported(file: Path) -> object:
    done = [*import_runs(file, file.parent / "runs")]
    if all(one.problem for one in done):
        raise RunnerError(done[0].problem)
    return done


JOB = ("--model", "Qwen/Qwen3-8B", "--gpu", "H100")
READERS: dict[str, Callable[[Path, Path], object]] = {
    "settings": lambda file, _: read_toml(str(file)),
    "chat template": lambda file, _: run_data._read_template(str(file)),
    "job": lambda file, _: planned("--job", str(file)),
    "model of a plan": lambda file, _: planned("--model", f"{file}", "--gpu", "H100"),
    "rows of a plan": lambda file, _: planned(*JOB, "--data", str(file), "--gpus", "1"),
    "rows": rows("rows.jsonl"),
    "array": rows("rows.json"),
    "table": rows("rows.csv"),
    **{
        name: in_place_of(name, model_of)
        for name in (
            *("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"),
            *("model.safetensors", "processor_config.json", "chat_template.json"),
            *("special_tokens_map.json", "added_tokens.json"),
        )
    },
    "index of weights": in_place_of("model.safetensors.index.json", model_by_index),
    "GGUF": under_a_name("model.gguf", lambda file: model_of(file)),
    "shard": lambda file, _: StoredTensors([file]),
    "sample log": under_a_name(
        "samples_task_2026-01-01T00-00-00.000000.jsonl", lambda file: sample_logs.judge([file])
    ),
    "record": under_a_name("config.json", lambda file: read_config(file.parent)),
    "state": under_a_name("state.json", lambda file: training_state.read_state(file.parent)),
    "manifest": under_a_name("manifest.json", lambda file: atomic.verify(file.parent)),
    **{
        name: under_a_name(name, imported)
        for name in ("trainer_state.json", "metrics.csv", "events.out.tfevents.1")
    },
}
READ_ON = {"address": under_a_name(address.FILE, lambda file: address.find(file.parent))}
"""Readers to whom a file that cannot be read is none."""


def answer(read: Callable[[], object]) -> str:
    """What a reader says of a file, in a process of its own with little time and memory."""
    back, out = os.pipe()
    if (child := os.fork()) == 0:
        try:
            room = psutil.Process().memory_info().data + ROOM_BYTES
            resource.setrlimit(resource.RLIMIT_DATA, (room, resource.RLIM_INFINITY))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            read()
            said = "read"
        except RunnerError as error:
            said = f"refused: {error}"
        except BaseException:
            said = traceback.format_exc(limit=-3)
        os.write(out, said.encode("utf-8", "backslashreplace")[:60_000])
        os._exit(0)
    os.close(out)
    with os.fdopen(back, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return said or f"ended by {signal.Signals(status).name}"


@pytest.mark.parametrize("reader", [*READERS, *READ_ON])
@pytest.mark.parametrize("make", matrix(FILES, "pipe", "sparse"))
def test_it_is_read_or_refused_in_words(
    make: str, reader: str, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    FILES[make](tmp_path / "file")
    read = {**READERS, **READ_ON}[reader]
    said = answer(lambda: read(tmp_path / "file", model_dir))
    assert said == "read" or re.fullmatch(r"refused: [^\n]{10,}", said), said

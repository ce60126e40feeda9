"""Real, small things for the runner's tests: a model directory, data files, a quiet console."""

import io
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rich.console import Console

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.system import foreign


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_quiet_libraries() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    foreign.limited_here = True  # a fork of this large process for every encoding costs much


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 27,040 random weights with its tokenizer, as one would download it."""
    return tiny_llama.directory(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def sums_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty rows of prompts and completions."""
    return tiny_llama.write_rows(
        tmp_path_factory.mktemp("data") / "sums.jsonl", tiny_llama.sums(40)
    )


@pytest.fixture(scope="session")
def cats_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows of plain text."""
    rows: list[dict[str, object]] = [{"text": f"cat {n} sat on mat {n}"} for n in range(6)]
    return tiny_llama.write_rows(tmp_path_factory.mktemp("data") / "cats.jsonl", rows)


@pytest.fixture
def full_disk() -> Iterator[int]:
    """A disk on which no file of this process can grow beyond so many bytes."""
    most, limits = 100_000, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    yield most
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def console() -> Iterator[Console]:
    """A console that is no terminal; read it with `console.file.getvalue()`."""
    with io.StringIO() as text:
        yield Console(file=text, width=100, highlight=False)


class _StopAt(io.StringIO):
    """A console's file that sends SIGTERM to this process when a line holds `marker`."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker = marker

    def write(self, text: str) -> int:
        if self.marker in text:
            signal.raise_signal(signal.SIGTERM)
        return super().write(text)


@pytest.fixture(scope="session")
def stop_after() -> Callable[[int], Console]:
    """Makes a console under which a run of six steps is asked to stop after a step."""

    def console(step: int) -> Console:
        return Console(file=_StopAt(f"step {step}/6  loss"), width=200)

    return console


@pytest.fixture
def make(
    model_dir: Path, sums_file: Path, tmp_path: Path, usual: dict[str, Any]
) -> Callable[..., TrainConfig]:
    """The settings of a short run, by the `usual` ones of a module and what is given."""
    every = {"model": str(model_dir), "data": str(sums_file), "steps": 6, "lr": 1e-2}
    every |= {"sample_tokens": 0, "runs": str(tmp_path / "runs")}
    return lambda **given: resolve(every | usual | given)

"""A run's model for others: a directory that transformers loads, or a GGUF file for llama.cpp.

A checkpoint in shards is read layer by layer and written file by file, so that neither the number
of processes that wrote it nor the memory of this machine matters. A GGUF file is written from a
whole model, read back and compared; a Modelfile stands beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint.directory import Saved
from gpu_runner.errors import CheckpointError, SystemFailure, UsageError
from gpu_runner.log.tail import LOG_NAME, MOST_LINE_BYTES, parse
from gpu_runner.model import sharded_load
from gpu_runner.model.gguf_file import TYPES, GgufModel, GgufType
from gpu_runner.model.load import DTYPES, Source, find, load, load_tokenizer, read_config
from gpu_runner.model.save import save_around, save_weights
from gpu_runner.model.sharded_load import WholeOnly
from gpu_runner.run.run_models import RunModel, load_trained, model_place

CPU: Final = torch.device("cpu")
PROMPTS: Final = ("The capital of France is", "2 + 2 =", "Once upon a time,", "def f(x):")
MOST_COMPARED: Final = 8
_UNFINISHED: Final = ".unfinished"


def export_model(
    run: Path, out: Path | None = None, dtype: str | None = None, step: int | None = None
) -> Saved:
    """Write the model of `run` to `out`, or to `export/hf` in the run.

    That of the finished run; of one that is not, or with `step`, that of a checkpoint. `dtype` is
    that of its files, its own if None. Raises `CheckpointError` where there is no such model, or it
    is not as it was saved; `UsageError`, `ModelLoadError`; `SystemFailure` where it cannot be
    written.
    """
    if dtype not in (None, *DTYPES):
        raise UsageError(f"--dtype {dtype!r} is unknown: choose {' or '.join(DTYPES)}.")
    place = model_place(run, step)
    source = Source("directory", run.name, str(place))
    own, _ = read_config(source)
    tokenizer = load_tokenizer(source)
    narrow = str(getattr(own, "dtype", "")).removeprefix("torch.") == "bfloat16"
    try:
        found = sharded_load.begin(source, tokenizer, "bf16" if narrow else "fp32")
    except WholeOnly as why:
        raise CheckpointError(f"{place} cannot be exported: {why}.") from None
    wide = DTYPES[dtype] if dtype else None

    def fill(directory: Path) -> None:
        save_around(found.model, tokenizer, directory, wide)
        with found.tensors() as whole_of:
            save_weights(found.model, directory, whole_of, wide)

    where = out or run / "export" / "hf"
    return checkpoint.publish(where, fill, private=False)


@dataclass(frozen=True, slots=True)
class ExportedGguf:
    """A written file and how far its logits, read back, lie from those of the model.

    largest_difference  of all logits, in their own unit, over `prompts`
    same_token          share of positions with the same likeliest token
    """

    file: Path
    modelfile: Path
    size: int
    prompts: int
    largest_difference: float
    same_token: float

    def sentences(self) -> list[str]:
        """Return what a person should know of it."""
        return [
            f"{self.file} holds {self.size:,} bytes. Read back, its logits on {self.prompts}"
            f" prompts differ from the model's by at most {self.largest_difference:.3g}, and the"
            f" likeliest token is the same at {self.same_token:.1%} of their positions.",
            f"Ollama: ollama create NAME -f {self.modelfile}; llama.cpp: llama-cli -m {self.file}",
        ]


def export_gguf(run: Path, file: Path, kind: str, step: int | None = None) -> ExportedGguf:
    """Write the model of `run`, or its checkpoint of `step`, to `file`; read it back and compare.

    All of the model is in memory, twice while it is compared. Nothing half-written stays. Raises
    `UsageError` for a type or a file that cannot be, a model that is not written as GGUF;
    `CheckpointError` where what is read back is not what was written; `SystemFailure`.
    """
    chosen = _check(file, kind)
    trained = load_trained(run, step, CPU)
    end = _trained_end(run)
    with _new_file(file) as unfinished:
        GgufModel(trained.model, trained.tokenizer, run.name, end).write(unfinished, chosen)
        difference, same, prompts = _compare(trained, unfinished, run)
        unfinished.replace(file)
    modelfile = file.with_name(f"{file.stem}.Modelfile")
    stop = "" if end is None else f"PARAMETER stop {json.dumps(trained.tokenizer.decode([end]))}\n"
    modelfile.write_text(f"FROM ./{file.name}\n{stop}PARAMETER temperature 0\n", "utf-8")
    return ExportedGguf(file, modelfile, file.stat().st_size, prompts, difference, same)


def _check(file: Path, kind: str) -> GgufType:
    for known in TYPES:
        if known == kind:
            break
    else:
        raise UsageError(f"--type {kind!r} is unknown: choose {', '.join(TYPES)}.")
    if file.suffix != ".gguf":
        raise UsageError(f"{file}: give a file name that ends in .gguf.")
    if file.exists():
        raise UsageError(f"{file} exists already: give another name, or remove it.")
    return known


@contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """Yield where to write; afterwards nothing is there. Raises `SystemFailure`."""
    unfinished = file.with_name(f".{file.stem}{_UNFINISHED}.gguf")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
    except OSError as error:
        raise SystemFailure(f"{file} cannot be written ({error.strerror}).") from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _trained_end(run: Path) -> int | None:
    """Return the token in which most trained answers end, as the run's log has it."""
    with suppress(OSError), (run / LOG_NAME).open("rb") as log:
        for line in log:
            event = parse(line.rstrip(b"\n")) if len(line) <= MOST_LINE_BYTES else None
            if event and event["kind"] == "rows" and event.get("ends"):
                return int(event["ends"][0]["token"])
    return None


@torch.no_grad()
def _compare(trained: RunModel, file: Path, run: Path) -> tuple[float, float, int]:
    """Return the largest difference of logits, the share of equal likeliest tokens, the prompts.

    Raises `CheckpointError` where the file that was read back is not what was to be written.
    """
    again = load(find(str(file)), trained.tokenizer, "fp32", CPU).eval()
    own = trained.model.float()
    largest, same, positions = 0.0, 0, 0
    prompts = [trained.encoder.render_question(prompt) for prompt in _prompts(run)]
    for prompt in prompts:
        ids = torch.tensor([trained.tokenizer(prompt, add_special_tokens=False).input_ids])
        one, two = (model(ids).logits[0] for model in (own, again))
        largest = max(largest, float((one - two).abs().max()))
        same += int((one.argmax(-1) == two.argmax(-1)).sum())
        positions += ids.shape[1]
    if not math.isfinite(largest):
        raise CheckpointError(f"{file.name} computes no numbers when it is read back.")
    return largest, same / positions, len(prompts)


def _prompts(run: Path) -> list[str]:
    """Return the prompts that the run was sampled with, then some of any."""
    found: list[str] = []
    with suppress(OSError), (run / LOG_NAME).open("rb") as log:
        for line in log:
            event = parse(line.rstrip(b"\n"))
            if event and event["kind"] == "sample":
                found.append(str(event["prompt"]))
    return [prompt for prompt in dict.fromkeys((*found, *PROMPTS)) if prompt.strip()][
        :MOST_COMPARED
    ]

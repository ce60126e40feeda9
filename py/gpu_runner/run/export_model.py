"""A run's model for others: a directory for transformers, a GGUF file for llama.cpp, on the hub.

A checkpoint in shards is read layer by layer and written file by file, so that neither the number
of processes that wrote it nor the memory of this machine matters. A GGUF file is written from a
whole model, read back and compared; a Modelfile stands beside it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import torch

from gpu_runner import atomic
from gpu_runner.atomic import Saved
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.errors import CheckpointError, UsageError
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.model import sharded_load
from gpu_runner.model.gguf_file import TYPES, GgufModel, GgufType
from gpu_runner.model.load import DTYPES, Source, find, load, load_tokenizer, read_config
from gpu_runner.model.save import save, save_around, save_weights
from gpu_runner.model.sharded_load import WholeOnly
from gpu_runner.outgoing import private_in_folder, require_public
from gpu_runner.run.directory import FINISHED
from gpu_runner.run.directory import read_config as read_settings
from gpu_runner.run.model_card import LoggedRun, write_card
from gpu_runner.run.run_models import (
    RunModel,
    last_step,
    load_trained,
    load_written,
    model_place,
    model_title,
    read_tokenizer,
)
from gpu_runner.text import counted
from gpu_runner.train.evaluate import generate

CPU: Final = torch.device("cpu")
PROMPTS: Final = ("The capital of France is", "2 + 2 =", "Once upon a time,", "def f(x):")
MOST_COMPARED: Final = 8
MODELFILE: Final = ".Modelfile"


def export_model(
    run: Path,
    out: Path | None = None,
    dtype: str | None = None,
    step: int | None = None,
    *,
    ema: bool = False,
) -> ExportedModel:
    """Write the model of `run` to `out`, or to `export/hf` in the run; load it and ask it again.

    That of the finished run; of one that is not, or with `step`, that of a checkpoint; with `ema`
    the moving average of its weights, which is asked nothing. `dtype` is that of its files, its own
    if None. Raises `CheckpointError` where there is no such model, or it
    is not as it was saved; `UsageError`, `ModelLoadError`; `SystemFailure` where it cannot be
    written.
    """
    if dtype not in (None, *DTYPES):
        raise UsageError(f"--dtype {dtype!r} is unknown: choose {' or '.join(DTYPES)}.")
    if ema:
        return _export_average(run, out, dtype, step)
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
    logged = LoggedRun.read(run)

    def fill(directory: Path) -> None:
        save_around(found.model, tokenizer, directory, wide)
        with found.tensors() as whole_of:
            save_weights(found.model, directory, whole_of, wide)
        scores = logged.scores_of(last_step(run, place), None if step else logged.task_loss)
        write_card(directory, run, f"It is {model_title(run, place)}.", scores)

    where = out or run / "export" / "hf"
    checkpoint.check_room(where, found.model, wide)
    saved = atomic.publish(where, fill, private=False, of=run.name)
    return ExportedModel(saved, *_ask_again(run, saved, step, logged.samples))


def _export_average(
    run: Path, out: Path | None, dtype: str | None, step: int | None
) -> ExportedModel:
    found = load_trained(run, step, CPU, averaged=True)
    model = found.model.to(DTYPES[dtype]) if dtype else found.model
    where = out or run / "export" / "hf"
    checkpoint.check_room(where, model)

    def fill(directory: Path) -> None:
        save(model, found.tokenizer, directory)
        write_card(directory, run, f"Its weights are the {found.name}.", ())

    return ExportedModel(atomic.publish(where, fill, private=False, of=run.name), 0, 0)


def _ask_again(
    run: Path, saved: Saved, step: int | None, samples: Mapping[str, str]
) -> tuple[int, int]:
    """Ask what was written the prompts of the finished run: how many it answers alike, of how many.

    Of none where the run left no answers, as of an earlier step, or where it would not fit.
    """
    free = psutil.virtual_memory().available
    if step is not None or 3 * saved.size_bytes > free or not (run / FINISHED).exists():
        return 0, 0
    source = find(str(saved.path))
    config = read_settings(run)
    tokenizer, encoder = read_tokenizer(config, saved.path, trusted=False)
    model = load(source, tokenizer, config.params, CPU).eval()
    written = {
        prompt: generate(model, tokenizer, encoder.render_question(prompt), config.sample_tokens)
        for prompt in samples
    }
    return sum(one.text == samples[prompt] for prompt, one in written.items()), len(samples)


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A directory that transformers loads, and how many of the run's prompts it answers alike."""

    saved: Saved
    alike: int
    asked: int

    def sentences(self) -> list[str]:
        """Return what a person should know of it; its path first."""
        if not self.asked:
            return [str(self.saved.path)]
        told = f"Loaded by transformers, it answers {self.alike} of {counted(self.asked, 'prompt')}"
        return [str(self.saved.path), f"{told} as the run did."]


def push_model(
    run: Path, name: str, step: int | None = None, *, public: bool = False, private: bool = False
) -> str:
    """Upload the model of `run`, or the one in a directory, to the hub as `name`; return its page.

    A repository that is not there is made, private unless `public`. What is in shards is exported
    before. Raises `UsageError` for a name or a hub that refuses, and for a card or a config that
    tells what is private unless that is allowed; `CheckpointError`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise UsageError(f"{name} is no name on the hub: give OWNER/NAME or NAME.") from None
    is_run = (run / LOG_NAME).is_file()
    if not is_run and not (run / "config.json").is_file():
        raise CheckpointError(f"{run} is neither a run nor a model: give a run, or its blend/.")
    place = run if not is_run else run / "model"
    if is_run and (step is not None or not (run / FINISHED).exists() or not place.is_dir()):
        place = export_model(run, step=step).saved.path
    atomic.verify(place)
    require_public(private_in_folder(place, [atomic.MANIFEST]), f"{place}", allowed=private)
    api = HfApi()
    try:
        made = api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=place,
            ignore_patterns=[atomic.MANIFEST],
            commit_message=f"{run.name}, by Unfrozen",
        )
    except Exception as error:  # of the client, whose transport differs by its version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{name} was not uploaded to {api.endpoint}: {reason.rstrip('.')}. Give a token"
            " that may write there, with `hf auth login` or as HF_TOKEN; is the hub in reach?"
        ) from None
    return str(made)


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


def export_gguf(
    run: Path, file: Path, kind: str, step: int | None = None, *, ema: bool = False
) -> ExportedGguf:
    """Write the model of `run`, or its checkpoint of `step`, to `file`; read it back and compare.

    With `ema` it is the moving average of its weights. `run` may be a model that `blend` wrote.
    All of the model is in memory, twice while it is compared. Nothing half-written stays. Raises
    `UsageError` for a type or a file that cannot be, a model that is not written as GGUF;
    `CheckpointError` where what is read back is not what was written; `SystemFailure`.
    """
    chosen = _check(file, kind)
    if (run / LOG_NAME).is_file():
        trained = load_trained(run, step, CPU, averaged=ema)
    elif step is not None or ema:
        raise UsageError(f"{run} is one model: leave out {'--ema' if ema else '--step'}.")
    else:
        trained, run = load_written(run, CPU)
    logged = LoggedRun.read(run)
    end, prompts = logged.stop, dict.fromkeys(filter(str.strip, (*logged.samples, *PROMPTS)))
    stop = "" if end is None else f"PARAMETER stop {json.dumps(trained.tokenizer.decode([end]))}\n"
    modelfile = file.with_suffix(MODELFILE)
    checkpoint.check_room(file, trained.model, torch.int8 if chosen == "q8_0" else torch.bfloat16)
    asked = [trained.encoder.render_question(one) for one in [*prompts][:MOST_COMPARED]]
    try:
        with atomic.new_files(file, modelfile) as (unfinished, beside):
            GgufModel(trained.model, trained.tokenizer, run.name, end).write(unfinished, chosen)
            atomic.write_file(beside, f"FROM ./{file.name}\n{stop}PARAMETER temperature 0\n")
            difference, same = _compare(trained, unfinished, asked)
    except OSError as error:
        raise atomic.write_failure(file, error) from None
    return ExportedGguf(file, modelfile, file.stat().st_size, len(asked), difference, same)


def _check(file: Path, kind: str) -> GgufType:
    known = next((one for one in TYPES if one == kind), None)
    if known is None:
        raise UsageError(f"--type {kind!r} is unknown: choose {', '.join(TYPES)}.")
    if file.suffix != ".gguf" or not file.name.isprintable():  # the Modelfile names it
        raise UsageError(f"{file}: give a file name that ends in .gguf.")
    for path in (file, file.with_suffix(MODELFILE)):
        if os.path.lexists(path):
            raise UsageError(f"{path} exists already: give another name, or remove it.")
    return known


@torch.no_grad()
def _compare(trained: RunModel, file: Path, prompts: list[str]) -> tuple[float, float]:
    """Return the largest difference of logits, and the share of equal likeliest tokens.

    Raises `CheckpointError` where the file that was read back is not what was to be written.
    """
    again = load(find(str(file)), trained.tokenizer, "fp32", CPU).eval()
    own = trained.model.float()
    largest, same, positions = 0.0, 0, 0
    for prompt in prompts:
        ids = torch.tensor([trained.tokenizer(prompt, add_special_tokens=False).input_ids])
        one, two = (model(ids).logits[0] for model in (own, again))
        largest = max(largest, float((one - two).abs().max()))
        same += int((one.argmax(-1) == two.argmax(-1)).sum())
        positions += ids.shape[1]
    if not math.isfinite(largest):
        raise CheckpointError(f"{file.name} computes no numbers when it is read back.")
    return largest, same / positions

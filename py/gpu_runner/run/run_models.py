"""The models of a run, loaded and asked: θ₀, that of a checkpoint, and the one it trained.

All of them read text through the tokenizer and the chat template that the run saved.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu_runner import atomic
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint.origins import fingerprint
from gpu_runner.checkpoint.training_state import parse_state, read_averages, read_state
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.chat.messages import BadRow
from gpu_runner.data.encode import NO_TEMPLATE, Encoder
from gpu_runner.errors import CheckpointError, DataError, ModelLoadError, UsageError
from gpu_runner.log.questions import THETA_0, AnswerPair, ModelAnswer, Question
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.model import sharded_load
from gpu_runner.model.added_tokens import Vocabulary, add_tokens, grow_embeddings
from gpu_runner.model.blocks import positions_of
from gpu_runner.model.load import Source, find, load, load_tokenizer, read_config, vocabulary_of
from gpu_runner.run.directory import CHECKPOINTS, FINISHED, finished_step
from gpu_runner.run.directory import read_config as read_settings
from gpu_runner.text import counted
from gpu_runner.train.evaluate import generate
from gpu_runner.train.initial_weights import initial_files, published_folder
from gpu_runner.world import trained_weights


@dataclass(frozen=True, slots=True)
class RunModel:
    """A loaded model of a run, in evaluation mode, with what turns text into its tokens."""

    name: str
    """For a person: "θ₀, the model before", "step 200 of 20261130-…"."""
    model: Any
    tokenizer: Any
    encoder: Encoder


def model_place(run: Path, step: int | None = None, *, with_state: bool = False) -> Path:
    """Return the verified directory of the run's finished model, or of a checkpoint.

    Of a run that is not finished, or with `step` or `with_state`, it is a checkpoint. Raises
    `CheckpointError` where there is none, or it is not as it was saved.
    """
    root = run / CHECKPOINTS
    if step is not None:
        place = checkpoint.step_dir(root, step)
        if not place.is_dir():
            there = ", ".join(str(checkpoint.step_of(path)) for path in checkpoint.finished(root))
            raise CheckpointError(
                f"{run.name} has no checkpoint of step {step}; it has {there or 'none'}."
            )
        atomic.verify(place)
        return place
    if not with_state and (run / FINISHED).exists() and (run / "model" / atomic.MANIFEST).exists():
        atomic.verify(run / "model")
        return run / "model"
    newest, refused = checkpoint.newest(root)
    if newest is None:
        why = f": {refused[0]}" if refused else ""
        what = "no" if with_state else "neither a finished model nor a"
        raise CheckpointError(
            f"{run} has {what} whole checkpoint{why}: put one back, or train it again."
        )
    return newest


def steps_on_disk(run: Path) -> list[int]:
    """Return the steps whose models a run has, ascending, that of the finished model among them."""
    steps = {
        step
        for path in checkpoint.finished(run / CHECKPOINTS)
        if (step := checkpoint.step_of(path))
    }
    return sorted(steps | {last_step(run, model_place(run))})


def load_trained(
    run: Path,
    step: int | None,
    device: torch.device,
    *,
    trusted: bool = False,
    averaged: bool = False,
) -> RunModel:
    """Load what a run trained, or its checkpoint of `step`; `averaged`: the EMA of its weights.

    Raises as `model_place` and `load`, `CheckpointError` where there is no such average.
    """
    config = read_settings(run)
    place = model_place(run, step, with_state=averaged)
    source = Source("directory", run.name, str(place), trusted=trusted)
    tokenizer, encoder = read_tokenizer(config, place, trusted=trusted)
    if sharded_load.has_sharded_weights(place):
        found = sharded_load.begin(source, tokenizer, config.params)
        found.fill(device)
        model = found.model
    else:
        model = load(source, tokenizer, config.params, device)
    if not averaged:
        return RunModel(model_title(run, place), model.eval(), tokenizer, encoder)
    read_averages(place, model)
    return RunModel(f"EMA at {model_title(run, place)}", model.eval(), tokenizer, encoder)


def load_written(place: Path, device: torch.device) -> tuple[RunModel, Path]:
    """Load a model that `blend` or `export` wrote, and return it with the run that it is of.

    That is the one whose directory it is in; else `place` itself. Raises `CheckpointError` for what
    is no model.
    """
    if not (place / "config.json").is_file():
        raise CheckpointError(f"{place} is neither a run nor a model: give a run, or its blend/.")
    atomic.verify(place)
    run = next((up for up in place.absolute().parents if (up / LOG_NAME).is_file()), place)
    config = TrainConfig(model=str(place), data="") if run == place else read_settings(run)
    source = Source("directory", place.name, str(place))
    tokenizer, encoder = read_tokenizer(config, place, trusted=False)
    model = load(source, tokenizer, config.params, device)
    return RunModel(f"{place.name} of {run.name}", model.eval(), tokenizer, encoder), run


def load_initial(run: Path, device: torch.device, *, trusted: bool = False) -> RunModel:
    """Load the pre-trained model that a run began with. Raises `ModelLoadError` where it is gone.

    `CheckpointError` where it has other weights by now, as a checkpoint of the run tells. Of the
    hub it is the revision that the run noted; tokens that the run added have their rows.
    """
    config = read_settings(run)
    try:
        source = find(config.model, trusted=trusted)
        if source.kind == "hub" and (folder := published_folder(source, run)) is not None:
            source = Source("directory", source.name, str(folder), trusted=trusted)
        architecture, _ = read_config(source)
        vocabulary = _added(config, source, architecture)
    except ModelLoadError as error:
        raise ModelLoadError(f"the pre-trained model of {run.name} is needed: {error}") from None
    tokenizer, encoder = read_tokenizer(config, model_place(run), trusted=trusted)
    model = load(
        source, tokenizer, config.params, device, len(vocabulary.added) if vocabulary else 0
    )
    if vocabulary is None:
        _check_initial(run, source, model)
    else:
        grow_embeddings(model, vocabulary, untrained=True)
    return RunModel(THETA_0, model.eval(), tokenizer, encoder)


def _check_initial(run: Path, source: Source, model: Any) -> None:
    """Raise `CheckpointError` where the files of θ₀ do not hold what the run began with."""
    saved = checkpoint.finished(run / CHECKPOINTS)
    files = initial_files(source, [*trained_weights(model)], run, as_published=True)
    if not saved or not files:
        return
    *_, origins = parse_state(saved[-1], read_state(saved[-1]))
    if origins.model != fingerprint(files):
        raise CheckpointError(
            f"{source.place} has other weights than those with which {run.name} began: put the"
            " model back as it was."
        )


def read_tokenizer(config: TrainConfig, place: Path, *, trusted: bool) -> tuple[Any, Encoder]:
    """Return the tokenizer that a run saved, with the chat template it trained with."""
    tokenizer = load_tokenizer(Source("directory", place.name, str(place), trusted=trusted))
    template = NO_TEMPLATE if config.chat_template == NO_TEMPLATE else None
    return tokenizer, Encoder(
        tokenizer, config.seq_len, template=template, train_on=config.train_on, today=config.today
    )


def _added(config: TrainConfig, source: Source, architecture: Any) -> Vocabulary | None:
    if not config.add_tokens:
        return None
    rows = vocabulary_of(architecture)
    return add_tokens(load_tokenizer(source), config.add_tokens, rows)


def model_title(run: Path, place: Path) -> str:
    """Return what to call the model in a directory of a run."""
    return f"step {last_step(run, place):,} of {run.name}"


def last_step(run: Path, place: Path) -> int:
    """Return the last step of the model in a directory of a run."""
    if place.name == "model":
        return finished_step(run)
    return checkpoint.step_of(place) or 0


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Two loaded models that are asked the same."""

    before: RunModel
    after: RunModel

    def ask(self, question: Question) -> AnswerPair:
        """Return both answers. Raises `UsageError` for a prompt that cannot be asked."""
        question.check()
        return AnswerPair(
            question.prompt, _answer(self.before, question), _answer(self.after, question)
        )


def load_pair(
    run: Path,
    step: int | None,
    against: tuple[Path, int | None] | None,
    device: torch.device,
    *,
    trusted: bool = False,
) -> ModelPair:
    """Load the model of `run`, at `step` or the last, and the one it is compared with.

    That is θ₀, or the model of another run or checkpoint. Raises a `RunnerError`.
    """
    after = load_trained(run, step, device, trusted=trusted)
    if against is None:
        return ModelPair(load_initial(run, device, trusted=trusted), after)
    return ModelPair(load_trained(*against, device, trusted=trusted), after)


def _answer(asked: RunModel, question: Question) -> ModelAnswer:
    try:
        read = asked.encoder.render_question(question.prompt)
    except BadRow as error:
        raise DataError(str(error)) from None
    length = asked.encoder.count_tokens(read)
    positions = positions_of(asked.model.config)
    if positions is not None and length + question.tokens > positions:
        raise UsageError(
            f"the prompt has {counted(length, 'token')}, and the model's window, the answer"
            f" included, {positions:,}: give at most {max(0, positions - question.tokens):,} with"
            f" --tokens {question.tokens}."
        )
    found = generate(
        asked.model,
        asked.tokenizer,
        read,
        question.tokens,
        max(1, length),
        temperature=question.temperature,
        seed=question.seed,
    )
    return ModelAnswer(asked.name, found.text, found.ended, found.pieces)
